"""torchvision, without the seconds in which it loads torch's compiler: it does so for one function that only detectors
call, and to keep one out of what is compiled, which nothing here is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class Later(ModuleType):
    """Stands for a module of the compiler: what is called is the real one's, but what would keep a function from being
    compiled leaves it as it is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "disable":
            return lambda function, *_, **__: function
        return lambda *given, **named: getattr(import_module(self.__name__), name)(*given, **named)


@contextmanager
def uncompiled() -> Iterator[None]:
    """While the body runs, nothing loads torch's compiler, unless it is there already, to say what not to compile."""
    later = {} if COMPILER[0] in sys.modules else {name: Later(name) for name in COMPILER}
    sys.modules.update(later)
    try:
        yield
    finally:
        for name in later:
            del sys.modules[name]


with uncompiled():
    from torchvision import io, models  # of io the decoders are to go one day: no input but jpeg is to fail then
    from torchvision.transforms import functional, v2

__all__ = ["functional", "io", "models", "v2"]
