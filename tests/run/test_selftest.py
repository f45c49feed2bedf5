"""What a run knows of its worth: each check against a case where the answer is known."""

import mmap
import os
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from siliconbench.analysis.verdict import synchronized
from siliconbench.machine import sampler
from siliconbench.machine.sources import system
from siliconbench.record.schema import Case, Synchronization
from siliconbench.run import experiment, images, loader, models, passes, roofline, selftest, timing
from siliconbench.run.passes import Bench
from siliconbench.run.result import Log
from siliconbench.run.selftest import Neighbours
from siliconbench.run.vision import models as zoo


def bench(**given) -> Bench:
    plain = {"model": "mobilenet_v3_small", "batch_size": 4, "device": "cpu", "num_images": 8, "min_seconds": 1.0}
    return passes.set_up(Case(**plain | given))


@pytest.fixture(scope="module")
def plain():
    return bench()


class Behind:
    """A device that works behind the program, on a clock of its own: a call hands work over, a read waits for it."""

    def __init__(self, launch_s, work_s, waits=True):
        self.now, self.due, self.launch_s, self.work_s, self.waits = 0.0, 0.0, launch_s, work_s, waits

    def clock(self):
        return self.now

    def work(self):
        self.now += self.launch_s
        self.due = max(self.due, self.now) + self.work_s

    def synchronize(self):
        self.now = max(self.now, self.due) if self.waits else self.now

    def read(self):
        self.now = max(self.now, self.due) + 2e-5

    def found(self):
        idle_s, read_s = selftest.reads(self.work, self.synchronize, self.read, self.clock)
        once_s = timing.block(self.work, self.synchronize, 2, self.clock)
        return Synchronization(
            steps=2, synchronized_s=once_s, launched_s=once_s, idle_read_s=idle_s, read_s=read_s, event_s=None,
            unknown={"event_s": "it has none"},
        )  # fmt: skip


@pytest.mark.parametrize(("launch_s", "work_s"), [(1e-5, 3e-4), (1e-5, 0.02), (0.01, 0.02), (0.01, 0.002)])
def test_a_device_that_is_never_waited_for_is_never_called_synchronized(launch_s, work_s):
    assert synchronized(Behind(launch_s, work_s).found()) is True
    assert synchronized(Behind(launch_s, work_s, waits=False).found()) is False


def test_a_clock_that_runs_less_than_the_devices_own_events_gives_it_away():
    known = {"steps": 2, "launched_s": 0.01, "idle_read_s": 2e-5, "read_s": 2e-5}
    for host_s, right in ((0.0401, True), (0.0399, True), (0.012, False)):
        assert synchronized(Synchronization(**known, synchronized_s=host_s, event_s=0.04)) is right


def test_the_cpu_is_never_behind(plain):
    found = selftest.synchronization(plain)
    assert synchronized(found) is None and "not needed" in found.unknown["read_s"]


OPERANDS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "convolution": (0, 1), "linear": (0, 1), "conv2d": (0, 1)}


class Cut(TorchDispatchMode):
    """Products and convolutions of fp32 with operands of ten bits, as TF32 has them."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        args = list(args)
        for i in OPERANDS.get(function.overloadpacket.__name__, ()):
            if args[i].dtype == torch.float32:
                args[i] = (args[i].contiguous().view(torch.int32) + 4096 & ~8191).view(torch.float32)
        return function(*args, **(kwargs or {}))


def test_ten_bits_under_the_name_of_fp32_are_seen_by_the_proof(plain):
    proofs = selftest.precision_proof(plain)
    assert [p.operation for p in proofs] == ["product", "convolution"] and all(p.proved for p in proofs)
    with Cut():
        cut = selftest.precision_proof(plain)
    assert all(not p.proved and p.difference > 5 * p.allowed for p in cut)
    named = replace(plain, case=plain.case.model_copy(update={"precision": "tf32"}))
    with Cut():
        assert all(p.proved for p in selftest.precision_proof(named))


@pytest.mark.parametrize(("precision", "given"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precisions_are_proved_as_what_they_are(plain, precision, given):
    named = replace(plain, case=plain.case.model_copy(update={"precision": precision}))
    assert all(p.proved for p in selftest.precision_proof(named))
    assert models.form(named.case)[0] == given


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "squeezenet1_1"])
def test_ten_bits_under_the_name_of_fp32_fail_the_outputs(name):
    right = bench(model=name, memory_format="channels_last", asked_px=96)
    found = selftest.outputs(right)
    assert found.agree and found.tolerance <= 5e-4 and found.image_scatter >= 0.1

    def cut(batch):
        with Cut():
            return right.call(batch)

    wrong = selftest.outputs(replace(right, call=cut))
    assert not wrong.agree and wrong.largest_difference > 5 * wrong.tolerance


CHILD = """
import torch
from siliconbench.record.schema import Case
from siliconbench.run import passes, selftest
case = Case(model="squeezenet1_1", batch_size=1, device="cpu", compile=False, memory_format="channels_last")
proof = selftest.precision_proof(passes.set_up(case))[1]
a, b = torch.rand(4, 64, 14, 14), torch.rand(64, 64, 3, 3)
exact = torch.conv2d(a.double(), b.double())
print(proof.proved, float((torch.conv2d(a, b) - exact).abs().max() / exact.max()) < 1e-5)
try:
    passes.set_up(case.model_copy(update={"memory_format": "contiguous"}))
except passes.Refused as why:
    print("ONEDNN_DEFAULT_FPMATH_MODE" in str(why))
"""


def test_a_cpu_told_to_convolve_in_bf16_is_refused_as_reference_and_seen_by_the_proof():
    env = os.environ | {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, env=env)
    proved, true, refused = done.stdout.split()
    assert refused == "True" and proved == true
    if true == "True":
        pytest.skip("this CPU convolves in fp32 whatever it is told; the refusal was seen")


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_flops_are_twice_the_multiply_adds_that_torchvision_publishes(name):
    published = zoo.get_model_weights(name).DEFAULT.meta["_ops"]  # in units of 10^9, to three places: attention is 4 %
    found = roofline.work_per_image(bench(model=name, batch_size=1))[0]
    assert found == pytest.approx(2e9 * published, rel=1e-3, abs=1.1e6)


def test_flops_do_not_depend_on_the_batch(plain):
    with FlopCounterMode(display=False) as counter:
        plain.model(plain.ready_batch)
    assert roofline.work_per_image(plain)[0] == pytest.approx(counter.get_total_flops() / 4)


def test_bytes_hold_the_weights_and_every_output():
    small = bench(model="squeezenet1_1", batch_size=1)
    weights = sum(p.nbytes for p in small.model.parameters())
    assert weights < roofline.work_per_image(small)[1] < weights + 2 * 4 * 10e6


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_outputs_in_another_precision_agree_and_a_wrong_model_does_not(name, precision):
    right = bench(model=name, precision=precision, batch_size=1)  # small images: a CPU may lack such instructions
    finish = images.finisher(right.device, *models.form(right.case), 64)
    pixels = right.pixels._replace(px=64)
    changed = right.case.model_copy(update={"image_px": 64, "asked_px": 64, "batch_size": 3})
    right = replace(right, case=changed, finish=finish, pixels=pixels)
    found = selftest.outputs(right)
    assert found.agree and 0 < found.largest_difference < found.tolerance and found.images == 16
    with torch.no_grad():
        next(iter(right.model.parameters())).mul_(-1)
    assert not selftest.outputs(right).agree
    with torch.no_grad():
        next(iter(right.model.parameters())).fill_(float("nan"))
    broken = selftest.outputs(right)
    assert not broken.agree and broken.largest_difference is None


def test_the_reference_on_the_cpu_is_compared_with_nothing(plain):
    assert "this is the computation" in selftest.outputs(plain)


def slowed(bench, slow, seconds):
    """The bench, its parts next to nothing but for one that sleeps, and its stream."""
    batch = bench.ready_batch

    def part(name):
        return lambda *_: time.sleep(seconds if name == slow else 0.0002) or batch

    return replace(bench, call=part("forward"), finish=part("copy")), loader.Loader(iter(part("input"), None))


@pytest.mark.parametrize("slow", ["input", "copy", "forward"])
def test_the_bottleneck_is_confirmed_when_the_suspect_is_what_is_slow(plain, slow):
    planted, stream = slowed(plain, slow, 0.05)
    whole = passes.end_to_end(planted, stream)
    answer = experiment.experiment(planted, slow, stream, whole)
    found = answer.experiment
    assert answer.bottleneck == slow and found.confirmed
    assert found.images_per_s_without > 1.2 * found.images_per_s_with


def test_a_suspect_that_is_not_slow_is_refuted_and_nothing_stands_out(plain):
    planted, stream = slowed(plain, "input", 0.2)
    for _ in range(30):  # by few blocks, and beside others, it may not tell
        answer = experiment.experiment(planted, "copy", stream, passes.end_to_end(planted, stream))
        if answer.experiment:
            break
    assert answer.bottleneck == "balanced" and not answer.experiment.confirmed


def test_one_block_can_not_tell(plain):
    short = replace(plain, case=plain.case.model_copy(update={"min_seconds": 0.0, "num_images": 4}))
    planted, stream = slowed(short, "input", 0.05)
    answer = experiment.experiment(planted, "input", stream, passes.end_to_end(planted, stream))
    assert answer.bottleneck == "input" and answer.experiment is None and "too few blocks" in answer.why
    balanced = experiment.experiment(planted, "balanced", stream, passes.end_to_end(planted, stream))
    assert (balanced.bottleneck, balanced.experiment) == ("balanced", None) and balanced.why


@pytest.mark.parametrize("part", ["input", "forward"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_cuda_the_run_without_a_part_copies_beside_the_model_as_the_whole_does(part):
    plain, streams = bench(device="cuda"), set()

    def finish(batch):
        streams.add(torch.cuda.current_stream().cuda_stream)
        return plain.finish(batch)

    step = experiment.without(replace(plain, finish=finish), part, loader.stream(plain, 0))
    streams.clear()  # the ready batch is made on the model's own stream
    step()
    assert streams and torch.cuda.current_stream().cuda_stream not in streams


def test_the_end_is_timed_again_with_the_share_of_the_kernel(plain):
    forward = passes.forward(replace(plain, case=plain.case.model_copy(update={"min_seconds": 0.2})))
    size = 16 * 2**20

    def faulty(batch):
        with mmap.mmap(-1, size) as fresh:  # memory that nobody has touched yet: a fault for each page
            if hasattr(mmap, "MADV_NOHUGEPAGE"):
                fresh.madvise(mmap.MADV_NOHUGEPAGE)
            fresh[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
        return plain.call(batch)

    quiet, loud = selftest.repeat(plain, forward), selftest.repeat(replace(plain, call=faulty), forward)
    assert len(quiet.block_s) in (1, 3)
    assert 0 <= quiet.system_share <= 1
    assert loud.page_faults_per_image > quiet.page_faults_per_image + 10
    assert loud.system_share > quiet.system_share


def test_the_machine_rests_before_and_after_a_run_where_its_heat_is_told(monkeypatch):
    heat = {"coretemp": [SimpleNamespace(current=50.0)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: heat, raising=False)
    case, start = Case(model="resnet18", batch_size=1, device="cpu", min_seconds=2.4), time.perf_counter()
    log = Log(True, case)
    zero = time.perf_counter()
    found = log.stop(zero).telemetry
    assert zero - start >= 1.2 and found.idle_until_s <= 0 < found.cooling_from_s < 1
    assert found.time_s[0] < found.idle_until_s and found.time_s[-1] > found.cooling_from_s
    assert Log(False, case.model_copy(update={"minutes": 1.0})).stop(zero).telemetry is None
    assert time.perf_counter() - start < 30  # which it would rest around a sustained run


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac tells its power")
def test_it_does_not_rest_where_nothing_is_told(monkeypatch):
    for name in ("sensors_temperatures", "sensors_fans", "sensors_battery"):
        monkeypatch.setattr(psutil, name, dict, raising=False)
    monkeypatch.setattr(system, "POWERCAP", Path("/nowhere"))
    monkeypatch.setitem(sampler.SOURCES, "linux", (system.System,))  # a GPU's host is told more
    assert Log(True, Case(model="resnet18", batch_size=1, device="cpu", min_seconds=60.0)).stop(0.0).rest_s == 0.0


BUSY = [sys.executable, "-c", "import time; end = time.monotonic() + 6\nwhile time.monotonic() < end: pass"]


def test_a_busy_child_is_no_neighbour():
    child, before = subprocess.Popen(BUSY), selftest.own_cpu_s()
    time.sleep(1.0)
    running = selftest.own_cpu_s()
    child.kill()
    child.wait()
    assert running - before > 0.2  # of about a second
    assert selftest.own_cpu_s() >= running - 0.05  # and it stays ours when it has ended


def test_a_busy_process_that_is_not_ours_is_a_neighbour():
    start = "from subprocess import *; import sys; print(Popen(sys.argv[1:], stdout=DEVNULL, stderr=DEVNULL).pid)"
    stranger = psutil.Process(int(subprocess.check_output([sys.executable, "-c", start, *BUSY], timeout=30)))
    try:  # its parent has ended: it is nobody's child
        time.sleep(0.3)
        own_s, its_s, since = selftest.own_cpu_s(), sum(stranger.cpu_times()[:2]), time.perf_counter()
        beside = Neighbours()
        time.sleep(1.0)
        share, its_s = beside.seen().share, sum(stranger.cpu_times()[:2]) - its_s
        own_s, passed_s = selftest.own_cpu_s() - own_s, time.perf_counter() - since
    finally:
        stranger.kill()
    assert its_s > 0.1 and own_s < 0.5 * its_s
    assert share >= 0.8 * its_s / (passed_s * psutil.cpu_count())


def test_the_time_of_a_child_that_ended_stays_ours_on_macos_too(monkeypatch):
    times = psutil.Process.cpu_times
    as_macos = {"children_user": 0.0, "children_system": 0.0}  # psutil can't read them there
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda process: times(process)._replace(**as_macos))
    before, child = selftest.own_cpu_s(), subprocess.Popen(BUSY)
    handle = psutil.Process(child.pid)
    while sum(times(handle)[:2]) < 0.3:
        time.sleep(0.05)
    running = selftest.own_cpu_s()
    child.kill()
    child.wait()
    ended = selftest.own_cpu_s()
    assert before + 0.25 < running <= ended + 0.02
    others = psutil.Process.children
    monkeypatch.setattr(psutil.Process, "children", lambda *of, **how: [*others(*of, **how), handle])  # it is gone
    assert selftest.own_cpu_s() >= ended


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the time of guests")
def test_a_busy_virtual_machine_on_this_host_is_seen(monkeypatch):
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    times = namedtuple("scputimes", fields)
    reads = iter([times(100, 0, 0, 100, 0, 0, 0, 0, 90, 0), times(101.5, 0, 0, 100.5, 0, 0, 0, 0, 91.5, 0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda *_: next(reads))
    assert Neighbours().seen().share == pytest.approx(0.75, abs=0.05)  # 1.5 s of guests, half a second idle
