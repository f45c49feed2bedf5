"""A small pynvml with two GPUs, the fast one second, as in the order of the bus and not in CUDA's."""

import types

T4, H200 = "11111111-aaaa-4444-8888-000000000001", "22222222-bbbb-4444-8888-000000000002"
SOURCE = f"""
from types import SimpleNamespace
class NVMLError(Exception):
    def __init__(self, value=999): self.value = value
class NVMLError_NotSupported(NVMLError):
    def __init__(self): self.value = 3
UUIDS = ["GPU-{T4}", "GPU-{H200}"]
energy, running, busy = [iter(range(5_000_000, 10_000_000, 700)), iter(range(9_000_000, 90_000_000, 70_000))], [], []
def nvmlInit(): pass
def nvmlSystemGetDriverVersion(): return "570.86.15"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(gpu): return UUIDS[gpu]
def nvmlDeviceGetHandleByUUID(uuid):
    if uuid not in UUIDS: raise NVMLError(6)
    return UUIDS.index(uuid)
def nvmlDeviceGetName(gpu): return ["Tesla T4", "NVIDIA H200"][gpu]
def nvmlDeviceGetNumGpuCores(gpu): raise NVMLError_NotSupported
def nvmlDeviceGetPowerUsage(gpu): return [30_000, 699_500][gpu]
def nvmlDeviceGetTotalEnergyConsumption(gpu): return next(energy[gpu])
def nvmlDeviceGetUtilizationRates(gpu): return SimpleNamespace(gpu=[0, 98][gpu], memory=50)
def nvmlDeviceGetMemoryInfo(gpu): return SimpleNamespace(used=12 * 2**30, total=[15_843_721_216, 150_754_820_096][gpu])
def nvmlDeviceGetTemperatureV(gpu, sensor): raise NVMLError(13)
def nvmlDeviceGetTemperature(gpu, sensor): return [40, 71][gpu]
def nvmlDeviceGetClockInfo(gpu, kind): return {{1: [300, 1980][gpu], 2: 3201}}[kind]
def nvmlDeviceGetCurrentClocksEventReasons(gpu): return 0x24
def nvmlDeviceGetNumFans(gpu): return 0
def nvmlDeviceGetEnforcedPowerLimit(gpu): return [70_000, 600_000][gpu]
def nvmlDeviceGetPowerManagementDefaultLimit(gpu): return [70_000, 700_000][gpu]
def nvmlDeviceGetMaxClockInfo(gpu, kind): return {{1: [1590, 1980][gpu], 2: [5001, 3201][gpu]}}[kind]
def nvmlDeviceGetMaxPcieLinkGeneration(gpu): return [3, 5][gpu]
def nvmlDeviceGetCurrPcieLinkWidth(gpu): return [8, 16][gpu]
def nvmlDeviceGetMigMode(gpu):
    if not gpu: raise NVMLError_NotSupported
    return [1, 1]
def nvmlDeviceGetComputeRunningProcesses(gpu): return [SimpleNamespace(pid=pid) for pid in (running if gpu else [])]
def nvmlDeviceGetProcessUtilization(gpu, since_us):
    if busy is None: raise NVMLError_NotSupported
    return [SimpleNamespace(pid=pid, smUtil=share) for pid, share in busy]
"""
CALLS = [line.split("(")[0][4:] for line in SOURCE.splitlines() if line.startswith("def nvmlDeviceGet")]


def module() -> types.ModuleType:
    """That pynvml, to be put where pynvml is imported from; its every call can be replaced."""
    made = types.ModuleType("pynvml")
    exec(SOURCE, made.__dict__)
    return made


def failing(made: types.ModuleType, *names: str, value: int = 3) -> None:
    """Makes these calls fail: with 3, this GPU has them not; with 999, unknown."""

    def fail(*_: object) -> None:
        raise made.NVMLError_NotSupported if value == 3 else made.NVMLError(value)

    for name in names:
        setattr(made, name, fail)
