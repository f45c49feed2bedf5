"""Which GPU NVML is asked about, what it is, what it tells, and who else uses it."""

import json
import os
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.machine import energy, facts
from siliconbench.machine import sampler as samplers
from siliconbench.machine.sources import nvml as nvidia_ml
from siliconbench.machine.sources.nvml import Nvml
from siliconbench.machine.sources.source import Absent
from tests.machine import mac, nvidia
from tests.machine.nvidia import H200, T4


def test_the_gpu_is_the_one_that_torch_uses_whatever_its_place(nvml, monkeypatch):
    for uuid, watts in ((T4, 30.0), (H200, 699.5)):
        assert samplers.sampled(Nvml(uuid))["gpu_w"] == watts
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # CUDA's 0, the fastest, is not NVML's
    with pytest.raises(Absent, match="UUID"):
        Nvml("33333333-cccc-4444-8888-000000000003")


def test_a_part_of_a_gpu_has_a_uuid_of_its_own(nvml):
    nvml.UUIDS[1] = f"MIG-{H200}"
    assert samplers.sampled(Nvml(H200))["gpu_w"] == 699.5


def test_the_sampler_child_is_told_which_gpu_and_keeps_it_to_itself(tmp_path, monkeypatch):
    (tmp_path / "pynvml.py").write_text(nvidia.SOURCE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    sampler = samplers.Sampler(0.1, H200)
    mac.heard(sampler, '"gpu_w": 699.5')
    told = sampler.stop().model_dump_json()
    assert "699.5" in told and H200 not in told and H200[:8] not in told


def test_nvml(nvml):
    source = Nvml(H200)
    assert source.version == "driver 570.86.15"
    assert samplers.sampled(source) == {
        "gpu_temperature_c": 71, "gpu_w": 699.5, "gpu_clock_mhz": 1980, "memory_clock_mhz": 3201,
        "gpu_utilization": 0.98, "gpu_memory_used_bytes": 12 * 2**30, "throttle_bits": 0x24,
    }  # fmt: skip


CHECKED = [name for name in nvidia.CALLS if "Handle" not in name and "Count" not in name]


@given(st.sets(st.sampled_from(CHECKED)), st.sampled_from([3, 999]))
def test_each_nvml_call_is_guarded_by_itself(missing, value):
    made = nvidia.module()
    nvidia.failing(made, *missing, value=value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", made)
        reading, (gpus, _) = samplers.sampled(Nvml(H200)), nvidia_ml.gpus(H200)
    assert ("gpu_w" in reading) == ("nvmlDeviceGetPowerUsage" not in missing)
    assert ("gpu_clock_mhz" in reading) == ("nvmlDeviceGetClockInfo" not in missing)
    assert ("throttle_bits" in reading) == ("nvmlDeviceGetCurrentClocksEventReasons" not in missing)
    gpu = next(gpu for gpu in gpus if gpu.power_limit_w in (None, 600.0))
    assert (gpu.power_limit_w is None) == ("nvmlDeviceGetEnforcedPowerLimit" in missing) and len(gpus) == 2


@pytest.mark.parametrize(("visible", "watts"), [
    ("1,0", 699.5), (f"GPU-{T4},1", 30.0), ("0", 30.0), ("", None), ("-1", None),
])  # fmt: skip
def test_without_torch_it_is_the_first_that_may_be_seen(nvml, monkeypatch, visible, watts):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if watts:
        assert samplers.sampled(Nvml())["gpu_w"] == watts
    else:
        with pytest.raises(Absent, match="CUDA_VISIBLE_DEVICES"):
            Nvml()


def test_nvml_without_driver_or_library(nvml, monkeypatch):
    nvidia.failing(nvml, "nvmlInit", value=9)
    assert "no NVIDIA GPU answers" in samplers.opened()[1]["NVML"]
    assert "no NVIDIA GPU answers" in energy.counter("cuda", H200)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in samplers.opened()[1]["NVML"]
    assert "pip install nvidia-ml-py" in energy.counter("cuda", H200)


def test_the_facts_of_a_gpu_and_which_comes_first(nvml):
    machine = facts.machine(uuid=H200)
    first, second = machine.gpus
    assert (first.name, second.name, machine.slug[:12]) == ("NVIDIA H200", "Tesla T4", "nvidia-h200-")
    assert (first.power_limit_w, first.power_limit_default_w) == (600.0, 700.0)
    assert (first.max_clock_mhz, first.max_memory_clock_mhz) == (1980.0, 3201.0)
    assert [(gpu.pcie_generation, gpu.pcie_width) for gpu in machine.gpus] == [(5, 16), (3, 8)]
    assert (first.mig, second.mig) == (True, False)
    assert set(first.unknown) == {"cores"} and facts.machine().gpus[0].name == "Tesla T4"
    told = json.dumps(machine.model_dump())
    assert not [secret for secret in (H200, T4) if secret[:8] in told]


def test_whether_a_gpu_is_shared_out_is_unknown_where_that_cannot_be_asked(nvml):
    nvidia.failing(nvml, "nvmlDeviceGetMigMode", value=999)
    assert [gpu.mig for gpu in facts.machine().gpus] == [None, None]


def test_the_counter_is_that_of_torchs_gpu(nvml):
    assert [energy.counter("cuda", uuid).joules() for uuid in (T4, H200)] == pytest.approx([0.7, 70.0])
    nvidia.failing(nvml, "nvmlDeviceGetTotalEnergyConsumption")
    assert energy.counter("cuda", H200) == "this GPU tells no energy"


OWN = {100, 101}


@pytest.mark.parametrize(("running", "busy", "expected"), [
    ([100], [(100, 90)], 0),
    ([100, 101], [], 0),
    ([100, 7, 8], [(100, 50), (7, 40), (8, 0)], 1),  # one holds memory and does nothing
    ([100, 7, 8], [(100, 50), (9, 40)], 0),  # what draws on the screen does not compute
    ([100, 7, 8], None, 2),  # the driver does not tell who was busy
    ([7, 8], [(7, 90)], None),  # another namespace's numbers
    ([], [], None),
])  # fmt: skip
def test_neighbours_on_the_gpu(nvml, running, busy, expected):
    nvml.running[:], nvml.busy = running, busy
    found = nvidia_ml.neighbours(H200, OWN, time.time_ns() // 1000)
    assert found == expected if expected is not None else "does not show this process itself" in found


def test_neighbours_without_nvml(nvml):
    nvidia.failing(nvml, "nvmlDeviceGetComputeRunningProcesses")
    assert "does not show" in nvidia_ml.neighbours(H200, OWN, 0)
    nvidia.failing(nvml, "nvmlInit", value=9)
    assert "no NVIDIA GPU answers" in nvidia_ml.neighbours(H200, OWN, 0)
