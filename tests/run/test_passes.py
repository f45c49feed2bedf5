"""The passes of a run, for real but small: on the CPU, with fake images and real seconds."""

import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from siliconbench.record.schema import Case, Pass
from siliconbench.run import loader, passes, trials
from siliconbench.run.images import pool
from siliconbench.run.passes import Refused
from tests.samples import timed


def case(**given):
    plain = {"model": "mobilenet_v3_small", "batch_size": 4, "device": "cpu", "num_images": 16, "min_seconds": 0.2}
    return Case(**plain | given)


@pytest.fixture(scope="module")
def bench():
    return passes.set_up(case())


def test_the_bench_is_ready(bench):
    assert bench.case.image_px == 224
    assert bench.host_batch.shape == bench.ready_batch.shape == (4, 3, 224, 224)
    assert bench.host_batch.dtype == torch.uint8 and bench.ready_batch.dtype == torch.float32
    assert bench.call(bench.ready_batch).shape == (4, 1000)
    assert bench.first_forward_s > 0 and bench.build_s > 0


def test_the_batch_is_what_the_loader_gives(bench):
    assert torch.equal(next(loader.stream(bench, 0)), bench.host_batch)
    wide = passes.set_up(case(model="squeezenet1_1", batch_size=70, asked_px=64)).host_batch
    assert torch.equal(wide[:6], wide[64:])


def test_every_pass_has_its_images(bench):
    stream, model = loader.stream(bench, 0), passes.forward(bench)
    for part in (model, passes.copy(bench, model), passes.load(bench, model, stream)):
        assert part.seconds >= 0.1
    whole = passes.end_to_end(bench, stream)
    assert whole.images >= 16
    assert whole.start_s > 0


def test_zero_seconds_times_exactly_the_images_asked_for(bench):
    few = passes.set_up(case(model="squeezenet1_1", min_seconds=0.0, num_images=14))
    stream = loader.stream(few, 0)
    timed = [passes.end_to_end(few, stream), model := passes.forward(few)]
    timed += [passes.copy(few, model), passes.load(few, model, stream)]
    assert [part.images for part in timed] == [16] * 4
    assert len(passes.latency(few).request_s) == 4


def test_original_input_leaves_nothing_to_copy_on_the_cpu():
    bench = passes.set_up(case(model="squeezenet1_1", input="original"))
    assert passes.copy(bench, passes.forward(bench)) is None


@pytest.mark.parametrize("share", [0.0005, 0.05, 0.2, 0.3, 2.0])
def test_a_part_is_timed_by_its_share_of_the_models_own_time(bench, share):
    """Ten seconds are asked for: the model has five; a part has one, and from a quarter of the model's time on five."""
    model = Pass.model_validate(timed(100.0))
    asked = []

    def a_part(least_s):
        asked.append(least_s)
        return Pass.model_validate(timed(100.0 / share, images=5 * math.ceil(least_s * 20 / share)))

    found = passes.part(replace(bench, case=case(min_seconds=10.0)), model, a_part)
    assert found.seconds == pytest.approx(max(1.0, 5 * min(1.0, share / 0.25)), rel=0.1)
    assert asked == [1.0, 5 * min(1.0, share / 0.25)][: 1 + (share > 0.05)]


def test_the_cpu_is_never_behind(bench):
    assert bench.synchronize() is None


def test_fp32_is_fp32_unless_tf32_is_asked_for(monkeypatch):
    monkeypatch.setattr(passes, "lacks", lambda *_: None)
    for precision, tf32 in (("fp32", False), ("tf32", True), ("fp32", False)):
        passes.set_up(case(model="squeezenet1_1", precision=precision))
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32


@pytest.mark.parametrize(
    ("given", "why"), [({"precision": "tf32"}, "NVIDIA"), ({"input": "jpeg-device"}, "CUDA.*: INPUT=jpeg")]
)
def test_what_the_device_lacks_is_refused(given, why):
    with pytest.raises(Refused, match=why):
        passes.set_up(case(**given))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-device-resize"])
def test_what_is_decoded_is_recorded_and_the_model_gets_it(kind):
    bench = passes.set_up(case(model="squeezenet1_1", input=kind, workers=1))
    stream, found = trials.feed(bench, needed=100.0)
    assert found.encoded == pool(bench.case.seed)[1] and found.encoded.mean_bytes > 10**5
    assert torch.equal(bench.finish(next(stream)), bench.ready_batch)
    assert bench.ready_batch.shape == (4, 3, 224, 224)


def test_workers_are_tried_and_the_fewest_that_serve_are_used(bench):
    stream, found = trials.feed(bench, needed=2000.0)  # over a twentieth of what a core of any machine makes
    assert next(stream).shape == (4, 3, 224, 224)
    rates = {t.workers: t.images_per_s for t in found.tried}
    assert found.used in rates and {len(r) for r in rates.values()} == {trials.ROUNDS} and found.chosen_in is None


def test_workers_are_no_more_than_the_cores_that_this_process_may_use(bench, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as a container's quota limits it, by the same count
    stream, found = trials.feed(bench, needed=1e6)
    assert next(stream).shape[0] == 4
    assert found.used <= 1 and all(t.workers <= 1 for t in found.tried)


def test_workers_as_asked_are_not_tried():
    bench = passes.set_up(case(model="squeezenet1_1", workers=1))
    stream, found = trials.feed(bench, needed=100.0)
    assert found.used == 1 and not found.tried
    assert next(stream).shape[0] == 4


@pytest.mark.parametrize(
    ("alone", "needed", "cpu", "cores"), list(itertools.product([50, 2000], [10, 3000], [0, 1], [1, 2, 16]))
)
def test_candidates_are_few_and_leave_a_core_for_an_accelerators_program(alone, needed, cpu, cores):
    tries = trials.candidates(alone, needed, bool(cpu), cores)
    assert tries == sorted(set(tries)) and 1 <= len(tries) <= 3
    assert max(tries) <= max(1, cores - (not cpu))


def test_a_loader_that_costs_nothing_needs_no_workers():
    assert trials.candidates(2000, 20, True, 2) == [0]


def test_latency_is_of_single_requests(bench):
    found = passes.latency(bench)
    assert found.request_images == 4
    assert 0.05 <= sum(found.request_s) < 60


def test_what_another_run_of_the_sweep_chose_is_not_tried_again_and_the_users_word_stands(bench):
    _, found = trials.feed(bench, 100.0, 1, 7)
    assert (found.used, found.tried, found.chosen_in) == (1, [], 7)
    asked = replace(bench, case=bench.case.model_copy(update={"workers": 0}))
    _, found = trials.feed(asked, 100.0, 1, 7)
    assert (found.used, found.tried, found.chosen_in) == (0, [], None)


def chosen(true, on_cpu, noise, seed):
    rng = np.random.default_rng(seed)
    return trials.choice({n: rate * np.exp(rng.normal(0, noise, trials.ROUNDS)) for n, rate in true.items()}, on_cpu)


@pytest.mark.parametrize(("on_cpu", "best"), [(True, 0), (False, 4)])
def test_the_choice_is_the_same_in_repeats_that_differ_by_noise_alone(on_cpu, best):
    tied, clear = {0: 100.0, 4: 100.4, 8: 100.8}, {0: 50.0, 4: 75.0, 8: 100.0}
    assert np.mean([chosen(tied, on_cpu, 0.05, seed) == best for seed in range(500)]) > 0.9
    assert np.mean([chosen(clear, on_cpu, 0.05, seed) == 8 for seed in range(500)]) > 0.98


@pytest.mark.parametrize("workers", [0, 2])
def test_every_pass_over_a_stream_begins_at_the_same_image(bench, workers):
    stream = loader.stream(bench, workers)
    for _ in range(3):
        stream.jump(8)
        assert torch.equal(next(stream)[0], bench.images[8])
        assert torch.equal(next(stream)[0], bench.images[12])


def test_a_loader_knows_how_many_batches_lie_ready(bench):
    stream = loader.stream(bench, 2)

    def settle():
        """Two workers make two each ahead, and no more."""
        end = time.monotonic() + 20
        while sum(stream.made) - stream.taken < 4 and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)  # in which they would make more

    settle()
    stream.jump(0)
    assert sum(stream.made) >= 4 and stream.taken == 4
    settle()
    next(stream)
    assert stream.stock == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("min_seconds", [1.0, 2.0])
def test_on_cuda_the_whole_is_never_drained(min_seconds):
    """20 ms on the device and 10 ms to make a batch: 50 batches a second."""
    plain = passes.set_up(case(device="cuda", min_seconds=min_seconds))
    mark, marked = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(20):  # the clock rises under load: the last one counts
        mark.record()
        torch.cuda._sleep(10**8)
        marked.record()
        marked.synchronize()
    cycles = int(10**8 * 20 / mark.elapsed_time(marked))
    busy, host = replace(plain, call=lambda batch: torch.cuda._sleep(cycles)), plain.host_batch
    source = loader.Loader(iter(lambda: time.sleep(0.01) or host, None))
    assert passes.end_to_end(busy, source).images_per_s == pytest.approx(4 * 50, rel=0.03)
