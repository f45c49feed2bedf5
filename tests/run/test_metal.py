"""What only a Mac with Metal can show: each precision end to end, the wait, the memory, the tools."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from siliconbench.analysis.verdict import synchronized
from siliconbench.machine import energy, facts, sampler
from siliconbench.machine.sources.apple import Actop, Macmon
from siliconbench.machine.sources.source import CHANNELS, Absent
from siliconbench.machine.tools import text_of, tool, tried
from siliconbench.record import store
from siliconbench.record.schema import Case, Record
from siliconbench.run import device as devices
from siliconbench.run import models, passes, selftest
from tests.conftest import KNOBS, make_image
from tests.run.wait import check_that_the_wait_is_seen

pytestmark = pytest.mark.skipif(
    not torch.backends.mps.is_available(), reason="torch finds no Metal GPU on this machine"
)
METAL, PRECISIONS = "mps", ["fp32", "fp16", "bf16"]
SPEAKS_S = 20.0  # within which a tool must have printed its first line


def bench(**given):
    plain = {"model": "mobilenet_v3_small", "batch_size": 8, "device": METAL, "num_images": 8, "min_seconds": 0.3}
    return passes.set_up(Case(**plain | given))


def held_bytes() -> int:
    """What Metal holds for this process, torch's cache and its graphs' buffers included."""
    return int(torch.mps.driver_allocated_memory())


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The records of a sweep in each precision on this Mac, and what it printed."""
    folder = tmp_path_factory.mktemp("metal")
    done = make_image(folder, PRECISION=" ".join(PRECISIONS), USE_GPU="1", MIN_SECONDS="0.5", IMAGE_MODEL="resnet18")
    assert done.returncode == 0, done.stdout + done.stderr
    return [record for _, record in store.read_all([folder / "reports" / "data"])], done.stdout


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_from_make_to_its_record(swept, precision):
    (record,) = (r for r in swept[0] if isinstance(r, Record) and r.case.precision == precision)
    assert record.status == "ok" and record.case.device == METAL and record.verdict.word != "wrong"
    assert record.checks.outputs.agree and all(proof.proved for proof in record.checks.precision)
    assert synchronized(record.checks.synchronization) is True
    assert record.memory.peak_device_bytes > 0 and record.software.device_memory_bytes > 2**30
    assert record.limits.utilization > 0 and record.latency.first_forward_s > 0
    print(record.verdict, record.software.device_name, record.memory, record.energy, sep="\n")


def test_what_the_run_knows_of_this_mac(swept):
    record = next(r for r in swept[0] if isinstance(r, Record))
    machine, state = record.machine, record.checks.before
    print(machine, state, record.telemetry and record.telemetry.unknown, sep="\n")
    assert machine.chip.startswith("Apple ") and machine.os.startswith("macOS ") and machine.model
    assert machine.cores == sum(level.cores for level in machine.core_levels) and machine.rosetta is False
    assert machine.gpus[0].cores == torch.backends.mps.get_core_count()
    assert state.thermal_pressure and state.power_source and state.free_memory_bytes > 0
    assert record.checks.slept_s is not None and record.checks.others_share is not None


@pytest.mark.parametrize(("name", "batch_size"), [("mobilenet_v3_small", 1), ("resnet50", 32)])
def test_without_the_wait_a_run_is_never_called_synchronized(name, batch_size):
    check_that_the_wait_is_seen(bench(model=name, batch_size=batch_size))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50", "vit_b_16"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_outputs_are_the_cpus(name, precision, layout):
    found = selftest.outputs(bench(model=name, precision=precision, memory_format=layout))
    print(name, precision, layout, found)
    assert found.agree, found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_compiled_model_gives_the_same_and_compiles_once(precision):
    run = bench(compile=True, precision=precision)
    assert selftest.outputs(run).agree
    assert models.graphs_compiled() == run.graphs


def test_memory_is_what_was_held_and_less_than_there_is():
    device = torch.device(METAL)
    run = bench(model="resnet50", batch_size=32)
    weights = sum(p.nbytes for p in run.model.parameters())
    devices.reset_peak(device)
    run.call(run.ready_batch)
    run.synchronize()
    found, known = devices.peak_memory(device), devices.describe(device, "")
    print(found, held_bytes(), known)
    assert weights <= found.device_bytes <= known["device_memory_bytes"] <= facts.machine("here").memory_bytes
    assert known["device_name"] and known["cuda"] is None


@pytest.mark.xfail(strict=False, raises=AssertionError, reason="B10: torch's peak is of live tensors")
def test_memory_is_all_that_metal_holds():
    run = bench(model="vgg16", batch_size=16)
    devices.reset_peak(run.device)
    run.call(run.ready_batch)
    run.synchronize()
    assert devices.peak_memory(run.device).device_bytes >= 0.9 * held_bytes()


@pytest.mark.xfail(strict=False, raises=AssertionError, reason="B13: torch's counter does not know Metal's attention")
def test_attention_is_counted():
    on_cpu, here = (selftest.flop_per_image(bench(model="vit_b_16", device=kind)) for kind in ("cpu", METAL))
    assert here == pytest.approx(on_cpu, rel=0.001)


def test_batch_sizes_end_where_a_forced_limit_ends_memory(tmp_path):
    ratio = 1.5 * 2**30 / torch.mps.recommended_max_memory()
    limit = {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": f"{ratio:.4f}", "PYTORCH_MPS_LOW_WATERMARK_RATIO": f"{ratio / 2:.4f}"}
    done = make_image(tmp_path, BATCH_SIZE="auto", USE_GPU="1", IMAGE_MODEL="vgg16", **limit)
    told = [record for _, record in store.read_all([tmp_path / "reports" / "data"]) if isinstance(record, Record)]
    lost = [(r.case.batch_size, r.error.kind, r.error.message) for r in told if r.error]
    held = [r for r in told if r.status == "ok"]
    assert done.returncode == 0 and held, (done.stdout + done.stderr, lost)
    assert {kind for _, kind, _ in lost} <= {"out_of_memory"}, lost
    assert max(r.case.batch_size for r in held) < 64, "one layer's images in and out, and the weights, are 2.2 GB"
    assert all(r.software.environment.items() >= limit.items() for r in held)


@pytest.mark.parametrize("kind", [Macmon, Actop])
def test_an_installed_tool_speaks_in_time_and_says_what_can_be_true(kind):
    try:
        source = kind()
    except (Absent, ImportError, importlib.metadata.PackageNotFoundError) as why:
        pytest.skip(f"{kind.name}: {why}")
    start = time.monotonic()
    try:
        while not source.newest:
            assert time.monotonic() - start < SPEAKS_S, f"{kind.name} {source.version} has not spoken"
            source.read()
            time.sleep(0.05)
        print(f"{kind.name} {source.version} spoke after {time.monotonic() - start:.1f} s: {source.newest!r}")
        read = sampler.sampled(source)
    finally:
        source.close()
    assert isinstance(read, dict) and set(read) <= set(CHANNELS), read
    assert isinstance(read["gpu_w"], float) and isinstance(read["gpu_utilization"], float), read


def test_the_counter_of_joules_counts_work():
    counter = energy.counter(METAL, "")
    if isinstance(counter, str):
        pytest.skip(counter)
    square, before = torch.randn(4096, 4096, device=METAL), counter.joules()
    for _ in range(50):
        square @ square
    torch.mps.synchronize()
    time.sleep(0.5)
    assert counter.joules() > before


def test_the_doctor_comes_to_an_end_and_names_this_mac():
    done = subprocess.run(
        [sys.executable, "-m", "siliconbench", "doctor"], capture_output=True, text=True, timeout=60, check=False
    )
    print(done.stdout)
    assert done.stderr == "" and "Traceback" not in done.stdout
    assert facts.machine("here").chip in done.stdout


@pytest.mark.xfail(strict=False, raises=AssertionError, reason="A1: nothing keeps the Mac awake")
def test_the_mac_is_kept_awake_while_it_measures_and_not_after(tmp_path):
    own = {k: v for k, v in os.environ.items() if k not in KNOBS}
    words, awake = [sys.executable, "-m", "siliconbench", "image"], set[int]()
    run = psutil.Popen(words, env=own | KNOBS | {"USE_GPU": "0"}, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while run.poll() is None and not awake:
        mine = {child.pid for child in run.children() if tried(child.name) == "caffeinate"}
        awake = {pid for pid in mine if f"pid {pid}(caffeinate)" in text_of(tool("pmset", "-g", "assertions"))}
        time.sleep(0.5)
    run.wait(300)
    time.sleep(2)
    assert awake
    assert not [pid for pid in awake if psutil.pid_exists(pid)], "it would go on after us"


def test_each_tool_of_the_system_answers():
    machine, state = facts.machine("here"), facts.state()
    print(json.dumps([machine.unknown, state.unknown], indent=1))
    assert set(machine.unknown) <= {"driver"} and set(state.unknown) <= {"governor", "battery_percent", "power_mode"}
