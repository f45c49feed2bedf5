"""The tools of a Mac as small executables that print the outputs documented in telemetry.md, and ways to break them."""

import json
import os
import plistlib
import sys
import time
from pathlib import Path

from siliconbench.machine.sampler import Sampler

SECRETS = ("C02SECRETSER", "11112222-3333-4444-5555-666677778888", "Z1FS0002ULL/A", "00008112-PROVISIONING")
MACMON = {
    "timestamp": "2025-02-24T20:38:15.427569+00:00",
    "temp": {"cpu_temp_avg": 43.73614, "gpu_temp_avg": 36.95167},
    "memory": {"ram_total": 25769803776, "ram_usage": 20985479168, "swap_total": 4294967296, "swap_usage": 2602434560},
    "fans": [{"name": "fan0", "rpm": 999, "max_rpm": 4900}, {"name": "fan1", "rpm": 1200, "max_rpm": None}],
    "cpu_scaled_ratio": 0.036854, "cpu_active_ratio": 0.092, "ecpu_freq_mhz": 1100, "pcpu_freq_mhz": 1800,
    "gpu_freq_mhz": 461, "gpu_scaled_ratio": 0.0215, "gpu_active_ratio": 0.09, "cpu_power": 0.20486385,
    "gpu_power": 0.017451683, "ane_power": 0.0, "all_power": 0.22231553, "sys_power": 5.876533,
    "pcpu_cores": [{"freq_mhz": 3228, "active_ratio": 0.4}, {"freq_mhz": 0, "active_ratio": 0.01}],
    "soc": {"chip_name": "Apple M2 Pro", "gpu_freqs": [444, 1398]},
}  # fmt: skip
ACTOP = {
    "timestamp": 1.0, "cpu_watts": 12.3, "gpu_watts": 30.1, "ane_watts": 0, "package_watts": 42.4, "ecpu_util_pct": 10,
    "pcpu_util_pct": 20, "gpu_util_pct": 98, "cpu_temp_c": 99.1, "gpu_temp_c": 88.2, "ecpu_freq_mhz": 2000,
    "pcpu_freq_mhz": 3200, "gpu_freq_mhz": 1296, "thermal_state": "Nominal", "swap_used_bytes": 0,
    "fans": [[6012.0, 6550.0]], "fan_rpms": [6012.0], "fan_available": True,
}  # fmt: skip
SYSTEM_PROFILER = {
    "SPHardwareDataType": [
        {
            "chip_type": "Apple M4 Max", "model_number": SECRETS[2], "number_processors": "proc 16:12:4",
            "platform_UUID": SECRETS[1], "serial_number": SECRETS[0], "provisioning_UDID": SECRETS[3],
        }
    ],
    "SPDisplaysDataType": [
        {
            "_name": "Apple M2 Pro", "spdisplays_vendor": "sppci_vendor_Apple", "sppci_cores": "19",
            "sppci_model": "Apple M2 Pro", "serial_number": SECRETS[0],
        }
    ],
}  # fmt: skip
SYSCTL = {
    "machdep.cpu.brand_string": "Apple M3 Pro", "hw.memsize": "25769803776", "hw.physicalcpu": "11",
    "hw.logicalcpu": "11", "hw.nperflevels": "2", "hw.perflevel0.name": "Performance", "hw.perflevel0.physicalcpu": "5",
    "hw.perflevel1.name": "Efficiency", "hw.perflevel1.physicalcpu": "6",
    "sysctl.proc_translated": "0",
    "vm.swapusage": "total = 2048.00M  used = 1024.50M  free = 1023.50M  (encrypted)",
}  # fmt: skip
IOREG = plistlib.dumps([{"product-name": b"MacBook Pro (14-inch, Nov 2024)\0", "serial": SECRETS[0]}])
BATTERY = (
    "Now drawing from 'Battery Power'\n"
    " -InternalBattery-0 (id=22806627)\t78%; discharging; 5:05 remaining present: true\n"
)
PMSET = "System-wide power settings:\nCurrently in use:\n lowpowermode         0\n powermode            1\n sleep  1\n"
PRESSURE = "com.apple.system.thermalpressurelevel 2\n"
VM_STAT = (
    "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
    "Pages free:                               12345.\n"
    "Pages active:                            400000.\n"
    "Pages inactive:                           55555.\n"
)
BROKEN = {
    "hangs": "exec sleep 60",
    "dies": "kill -9 $$",
    "fails": "echo some; exit 3",
    "floods": "exec yes 'com.apple.system.thermalpressurelevel 4'",
    "is empty": "exit 0",
    "is mangled": r"printf '\377\376\000\200<plist> [{ 12,3 999999999999999999999999999999 NaN'",
    "leaves a child behind": "sleep 60 & exit 0",
}


def tool(folder: Path, name: str, script: str) -> None:
    """None; an executable of that name, written whole before it can be run."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def printing(folder: Path, name: str, output: bytes | str) -> str:
    """The shell command that prints this output."""
    file = folder / f"{name}.out"
    file.write_bytes(output if isinstance(output, bytes) else output.encode())
    return f"cat '{file}'"


def install(folder: Path) -> Path:
    """The folder, with every tool of a Mac in it but macmon, each printing what is documented."""
    folder.mkdir(exist_ok=True)
    cases = "\n".join(f"  '-n {key}') echo '{value}';;" for key, value in SYSCTL.items())
    tool(folder, "sysctl", f'case "$*" in\n{cases}\n  *) exit 1;;\nesac')
    tool(folder, "ioreg", printing(folder, "ioreg", IOREG))
    tool(folder, "system_profiler", printing(folder, "system_profiler", json.dumps(SYSTEM_PROFILER)))
    tool(folder, "sw_vers", 'case "$1" in -productVersion) echo 26.1;; -buildVersion) echo 25B78;; esac')
    batt, plain = printing(folder, "batt", BATTERY), printing(folder, "pmset", PMSET)
    tool(folder, "pmset", f'case "$*" in "-g batt") {batt};; "-g") {plain};; *) exit 1;; esac')
    tool(folder, "notifyutil", printing(folder, "notifyutil", PRESSURE))
    tool(folder, "vm_stat", printing(folder, "vm_stat", VM_STAT))
    return folder


def install_macmon(folder: Path, line: str | None = None, version: str = "macmon 0.8.2", every_s: float = 0.1) -> None:
    """None; a macmon in the folder that notes its process id in macmon.pid and prints a line again and again."""
    folder.mkdir(exist_ok=True)
    show = printing(folder, "macmon", (json.dumps(MACMON) if line is None else line) + "\n")
    once = f'if [ "$1" = --version ]; then echo "{version}"; exit 0; fi\necho $$ >> "{folder}/macmon.pid"\n'
    tool(folder, "macmon", f"{once}while :; do {show}; sleep {every_s}; done")


def install_package(folder: Path, name: str, module: str, source: str, version: str) -> None:
    """None; a Python package of that name in the folder, as pip would have left it."""
    path = folder / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def install_actop(folder: Path, line: str | None = None) -> None:
    """None; an actop in the folder that prints a line ten times a second."""
    text = json.dumps(ACTOP) if line is None else line
    source = f"import sys, time\nwhile True:\n    print({text!r}, flush=True)\n    time.sleep(0.1)\n"
    install_package(folder, "actop", "actop/actop.py", source, "1.9.12")
    (folder / "actop" / "__init__.py").write_text("")


def install_zeus(folder: Path) -> None:
    """None; a zeus-apple-silicon in the folder whose every window holds 2 J of CPU, 3 J of GPU and no ANE."""
    source = """
class Window:
    cpu_total_mj, gpu_mj, ane_mj, dram_mj = 2000, 3000, None, 7
class AppleEnergyMonitor:
    def begin_window(self, key, restart=False): pass
    def end_window(self, key): return Window()
"""
    install_package(folder, "zeus-apple-silicon", "zeus_apple_silicon.py", source, "1.1.0")


def heard(sampler: Sampler, *words: str, within_s: float = 15.0) -> None:
    """None, once the sampler has said all these words; AssertionError if that takes too long."""
    end = time.monotonic() + within_s
    while not all(word.encode() in (said := os.pread(sampler.file.fileno(), 2**20, 0)) for word in words):
        assert time.monotonic() < end, said[-1000:]
        time.sleep(0.02)


def launcher(brew: Path) -> tuple[str, ...]:
    """The command of a sampler that believes it runs on a Mac."""
    code = (
        "import sys, pathlib; from siliconbench.machine import sampler, tools; "
        "from siliconbench.machine.sources import apple; tools.PLATFORM = 'darwin'; "
        f"apple.BREW = pathlib.Path({str(brew)!r}); sampler.main(float(sys.argv[1]))"
    )
    return (sys.executable, "-c", code)
