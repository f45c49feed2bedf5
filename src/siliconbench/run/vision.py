"""torchvision, without the seconds in which it loads torch's compiler: it does so for one function that only detectors
call, and to keep one out of what is compiled, which nothing here is."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class Later(ModuleType):
    """Stands for a module of the compiler while torchvision loads: what is called later is the real one's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "disable":
            return lambda function, *_, **__: function
        return lambda *given, **named: getattr(import_module(self.__name__), name)(*given, **named)


if not (loaded := COMPILER[0] in sys.modules):
    sys.modules.update({name: Later(name) for name in COMPILER})
try:
    from torchvision import io, models  # of io the decoders are to go one day: no input but jpeg is to fail then
    from torchvision.transforms import functional, v2
finally:
    for name in COMPILER if not loaded else ():
        del sys.modules[name]

__all__ = ["functional", "io", "models", "v2"]
