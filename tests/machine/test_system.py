"""What Linux shows of itself: an AMD GPU among the sensors, as the kernel's documents have it; none was at hand."""

import ctypes

import pytest

from siliconbench.machine import tools
from siliconbench.machine.sources import system
from siliconbench.machine.sources.source import CHANNELS, Absent

# Documentation/gpu/amdgpu/thermal.rst and Documentation/hwmon/sysfs-interface.rst: millidegrees, microwatts, hertz.
FILES = {
    "name": "amdgpu", "temp1_input": "54000", "temp2_input": "67000", "temp3_input": "88000", "power1_cap": "300000000",
    "freq1_input": "2304000000", "freq2_input": "1249000000", "fan1_input": "1350", "device/gpu_busy_percent": "97",
    "device/mem_info_vram_used": "4294967296",
}  # fmt: skip


@pytest.fixture
def hwmon(tmp_path, monkeypatch):
    """hwmon(revision, files): a system that shows these sensors of a GPU whose metrics have that revision."""
    monkeypatch.setattr(tools, "SYS", tmp_path)

    def show(revision, **files):
        for number, shown in enumerate(({"name": "nvme"}, FILES | files)):
            for name, value in shown.items():
                file = tmp_path / "class" / "hwmon" / f"hwmon{number}" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{value}\n")
        (tmp_path / "class/hwmon/hwmon1/device/gpu_metrics").write_bytes(bytes([0x78, 0, revision, 3]))

    return show


def test_an_amd_card_tells_heat_power_clock_fan_and_load(hwmon):
    hwmon(1, power1_average="213000000")
    source = system.Hwmon()
    assert source.read() == {
        "gpu_temperature_c": 67.0, "gpu_w": 213.0, "gpu_clock_mhz": 2304.0, "fan_rpm": 1350.0, "gpu_utilization": 0.97,
        "gpu_memory_used_bytes": 4294967296.0,
    }  # fmt: skip
    assert source.version == "amdgpu" and set(source.gives) <= set(CHANNELS)


def test_the_power_of_an_apu_is_the_packages(hwmon):
    hwmon(2, power1_input="31000000")
    read = system.Hwmon().read()
    assert (read["gpu_w"], read["package_w"]) == (None, 31.0)


def test_a_file_that_is_no_number_is_unknown(hwmon):
    hwmon(1, freq1_input="N/A")
    read = system.Hwmon().read()
    assert read["gpu_clock_mhz"] is None and read["gpu_w"] is None and read["fan_rpm"] == 1350


def test_without_such_a_driver_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "SYS", tmp_path)
    with pytest.raises(Absent, match="amdgpu"):
        system.Hwmon()


def test_a_kernel_without_that_name_tells_no_memory_pressure(monkeypatch):
    class Library:
        @staticmethod
        def sysctlbyname(name, level, size, new, length):
            level._obj.value = 2
            return 0 if name == b"kern.memorystatus_vm_pressure_level" else -1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    assert system.memory_pressure() == 2
    monkeypatch.setattr(Library, "sysctlbyname", staticmethod(lambda *_: -1))
    with pytest.raises(OSError, match="memorystatus"):
        system.memory_pressure()
