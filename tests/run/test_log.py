"""What is watched around a run: its own GPU by torch's UUID, joules at the pass's edges, sleep, neighbours."""

import itertools
import json
import os
import sys
import time
import types

import psutil
import pytest
import torch

from siliconbench.machine import energy, facts
from siliconbench.machine.sources.nvml import Nvml
from siliconbench.machine.tools import clean
from siliconbench.record.schema import Case, Energy, Pass
from siliconbench.run import result
from tests.machine import nvidia
from tests.samples import timed

CASE = Case(model="resnet18", batch_size=8, device="cpu", min_seconds=0.0)


@pytest.fixture
def cuda(monkeypatch):
    """A machine on which torch uses the second GPU in NVML's order, which has a new value every 5 ms."""
    made = nvidia.module()
    made.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: int(time.perf_counter() * 200) * (500 if gpu else 1)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    seen = types.SimpleNamespace(uuid=nvidia.H200)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: seen)
    return made


def ended(log: result.Log) -> result.Log:
    """The log of a run that did nothing else for four seconds."""
    with log.energy_at_edges():
        time.sleep(4.1)
    return log.stop(0.0)


def a_pass(start_s: float, seconds: float) -> Pass:
    return Pass.model_validate(timed(40 / seconds, start_s=start_s))


@pytest.mark.xdist_group("measures")
def test_a_run_on_a_gpu_is_watched_on_that_gpu(cuda):
    cuda.running[:], cuda.busy = [os.getpid(), 7, 8], [(os.getpid(), 90), (7, 50)]
    log = result.Log(True, CASE.model_copy(update={"device": "cuda"}))
    start = time.perf_counter()
    ended(log)
    counted, why = log.energy(start, a_pass(0.05, 4.0))
    assert counted.joules == pytest.approx(4 * 100, rel=0.02) and (counted.counter, counted.part) == ("NVML", "GPU")
    assert counted.update_interval_s == pytest.approx(0.005, abs=0.004) and why == ""
    assert log.around["gpu_neighbours"][0] == 1 and log.around["slept_s"][0] == 0.0
    told = json.dumps([log.telemetry.model_dump(), counted.model_dump(), facts.machine(uuid=log.uuid).model_dump()])
    assert nvidia.H200[:8] not in told and nvidia.T4[:8] not in told


def test_a_child_of_the_run_is_no_neighbour(cuda):
    log = result.Log(False, CASE.model_copy(update={"device": "cuda"}))
    child = psutil.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
    cuda.running[:], cuda.busy = [os.getpid(), child.pid], [(child.pid, 90)]
    with log.energy_at_edges():
        pass
    child.kill()
    child.wait()
    assert log.around["gpu_neighbours"][0] == 0


def test_without_telemetry_nothing_is_counted():
    log = result.Log(False, CASE)
    with log.energy_at_edges():
        pass
    assert log.stop(0.0).telemetry is None and log.energy(0.0, a_pass(0.0, 1.0)) == (None, "TELEMETRY=0")
    assert log.around["gpu_neighbours"] == (None, "only NVIDIA's driver tells")


def test_without_a_counter_the_reason_is_recorded(monkeypatch):
    monkeypatch.setattr(energy, "counter", lambda *_: "RAPL may be read by root only")
    log = result.Log(True, CASE)
    with log.energy_at_edges():
        pass
    assert log.stop(0.0).energy(0.0, a_pass(0.0, 1.0)) == (None, "RAPL may be read by root only")


def test_an_error_in_the_pass_ends_the_reading(cuda):
    log = result.Log(True, CASE.model_copy(update={"device": "cuda"}))
    with pytest.raises(KeyError), log.energy_at_edges():
        raise KeyError
    read = len(log.meter.readings)
    time.sleep(0.2)
    assert len(log.meter.readings) == read
    log.stop(0.0)


@pytest.mark.parametrize(("asleep", "expected"), [((5.0, 65.0), 60.0), ((5.0, 4.9999), 0.0), ((None, None), None)])
def test_sleep_in_the_run_is_recorded(monkeypatch, asleep, expected):
    told = itertools.chain(asleep)
    monkeypatch.setattr(facts, "asleep_s", lambda: next(told))
    log = result.Log(False, CASE).stop(0.0)
    assert log.around["slept_s"] == (expected, "this system has no two clocks that tell")


@pytest.mark.skipif(not torch.cuda.is_available() or not torch.version.cuda, reason="no NVIDIA GPU is here")
def test_cuda_is_matched_with_nvml_by_uuid():
    uuid, pynvml = result.gpu_uuid("cuda"), pytest.importorskip("pynvml")
    device = Nvml(uuid)
    assert pynvml.nvmlDeviceGetName(device.gpu) == torch.cuda.get_device_name()
    gpu = facts.machine(uuid=uuid).gpus[0]
    assert gpu.name == clean(torch.cuda.get_device_name())
    assert min(gpu.power_limit_w, gpu.power_limit_default_w, gpu.max_clock_mhz, gpu.pcie_generation, gpu.pcie_width) > 0


@pytest.mark.xdist_group("measures")
@pytest.mark.skipif(not torch.cuda.is_available() or not torch.version.cuda, reason="no NVIDIA GPU is here")
def test_cuda_joules_add_up_and_are_below_the_limit():
    log = result.Log(True, CASE.model_copy(update={"device": "cuda", "min_seconds": 10.0}))
    a, start = torch.randn(4096, 4096, device="cuda"), time.perf_counter()
    with log.energy_at_edges():
        while time.perf_counter() - start < 22:
            a = (a @ a).clamp(-1, 1)
            torch.cuda.synchronize()
    log.stop(start)
    parts = [log.energy(start, a_pass(at, long))[0] for at, long in ((1.0, 20.0), (1.0, 10.0), (11.0, 10.0))]
    print([part.model_dump() for part in parts], log.around)
    assert all(isinstance(part, Energy) for part in parts)
    whole, first, second = (part.joules for part in parts)
    assert whole == pytest.approx(first + second, rel=1e-6)
    limit_w = facts.machine(uuid=log.uuid).gpus[0].power_limit_w
    assert 0 < whole / 20 <= 1.05 * limit_w
