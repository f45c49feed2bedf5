"""torchvision, without the seconds in which it loads torch's compiler: it does so for one function that only detectors
call, and to keep one out of what is compiled, which nothing here is."""

from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from siliconbench.machine.tools import instead

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class Later(ModuleType):
    """Stands for a module of the compiler: its calls are the real one's, but `disable` leaves a function as it is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "disable":
            return lambda function, *_, **__: function
        return lambda *given, **named: getattr(import_module(self.__name__), name)(*given, **named)


uncompiled = partial(instead, {name: Later(name) for name in COMPILER})  # nothing loads it to say what not to compile
with uncompiled():
    from torchvision import io, models  # of io the decoders are to go one day: no input but jpeg is to fail then
    from torchvision.transforms import functional, v2

__all__ = ["functional", "io", "models", "v2"]
