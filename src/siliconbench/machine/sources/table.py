"""The table of sources: a new one is one entry here; what to install and what it gives follow from its class."""

from siliconbench.machine import tools
from siliconbench.machine.sources.apple import Actop, Macmon, Zeus
from siliconbench.machine.sources.nvml import Nvml
from siliconbench.machine.sources.source import Absent, Source
from siliconbench.machine.sources.system import Rapl, System

SOURCES: tuple[type[Source], ...] = (Macmon, Actop, Zeus, Nvml, Rapl, System)  # the preferred first


def kinds() -> tuple[type[Source], ...]:
    """The sources of this system, in order of preference."""
    here = "darwin" if tools.PLATFORM == "darwin" else "linux"
    return tuple(kind for kind in SOURCES if kind.platform in ("", here))


def opened() -> tuple[list[Source], dict[str, str]]:
    """The sources that are to be had, and for each other one the reason, with what to install."""
    sources, absent = list[Source](), dict[str, str]()
    for kind in kinds():
        try:
            sources.append(kind())
        except Absent as error:
            absent[kind.name] = str(error)
        except ImportError as error:
            absent[kind.name] = f"{error.name or kind.package} is not installed: pip install {kind.package}"
        except Exception as error:
            absent[kind.name] = f"it failed: {type(error).__name__}"
    return sources, absent
