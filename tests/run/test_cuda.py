"""The self-tests on a CUDA device: what only it can show. `pytest tests/run -k cuda`."""

from dataclasses import replace

import pytest
import torch

from siliconbench.analysis.verdict import synchronized
from siliconbench.record.schema import Case
from siliconbench.run import device as devices
from siliconbench.run import experiment, loader, models, passes, selftest
from tests.run.wait import check_that_the_wait_is_seen

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def bench(**given):
    plain = {"model": "mobilenet_v3_small", "batch_size": 8, "device": "cuda", "num_images": 8, "min_seconds": 0.3}
    return passes.set_up(Case(**plain | given))


@pytest.mark.parametrize(("name", "batch_size"), [("mobilenet_v3_small", 1), ("resnet50", 64)])
def test_without_the_wait_a_run_is_never_called_synchronized(name, batch_size):
    check_that_the_wait_is_seen(bench(model=name, batch_size=batch_size))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_each_precision_is_proved_and_tf32_is_no_fp32(precision):
    if why := devices.lacks(torch.device("cuda"), precision):
        pytest.skip(why)
    run = bench(precision=precision)
    found = selftest.precision_proof(run)
    assert all(proof.proved for proof in found), found
    if precision == "tf32":  # its flags are set: the same under the name of fp32
        named = selftest.precision_proof(replace(run, case=run.case.model_copy(update={"precision": "fp32"})))
        assert not any(proof.proved for proof in named), named


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50", "vit_b_16"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_outputs_agree_in_each_precision_and_tf32_is_no_fp32(name, precision):
    if why := devices.lacks(torch.device("cuda"), precision):
        pytest.skip(why)
    run = bench(model=name, precision=precision)
    found = selftest.outputs(run)
    print(name, precision, found)
    assert found.agree, found
    if precision == "tf32":
        assert not selftest.outputs(replace(run, case=run.case.model_copy(update={"precision": "fp32"}))).agree


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_graphs_give_the_right_outputs_through_all_that_a_run_does(precision):
    run = bench(compile="reduce-overhead", memory_format="channels_last", precision=precision, batch_size=1)
    eager = bench(memory_format="channels_last", precision=precision, batch_size=1)
    speeds = [passes.forward(one).images_per_s for one in (eager, run)]
    print(precision, "eager, graphs: images/s", speeds)
    assert speeds[1] > speeds[0]
    assert run.call(run.ready_batch).clone().isfinite().all()
    whole = passes.end_to_end(run, loader.stream(run, 0))
    assert whole.images >= 8 and passes.latency(run).request_s
    assert synchronized(selftest.synchronization(run)) is True
    assert experiment.launch_s(run) > 0
    found = selftest.outputs(run)
    assert found.agree, found
    assert models.graphs_compiled() >= run.graphs >= 1


def test_the_peak_leaves_out_what_came_before_and_is_not_the_rooflines():
    device = torch.device("cuda")
    torch.empty(2**30, dtype=torch.uint8, device=device)
    run = bench()
    devices.reset_peak(device)
    run.call(run.ready_batch)
    assert devices.peak_memory(device).device_bytes < 2**29


def test_a_jpeg_is_the_same_decoded_on_the_device():
    """Decoders may spread chroma otherwise, so that few samples differ by more: in the mean by a step or two of 255."""
    plain, there = (bench(input=kind).ready_batch for kind in ("jpeg", "jpeg-device"))
    resized = bench(input="jpeg-device-resize").ready_batch
    assert plain.shape == there.shape == resized.shape and there.device.type == "cuda"
    step = 1 / 255 / 0.225  # one of 255, in normalised floats
    assert float((plain - resized).abs().max()) <= 2.1 * step
    assert float((plain - there).abs().mean()) <= 2 * step


def test_the_architecture_is_told():
    found = devices.describe(torch.device("cuda"), models.fingerprint(torch.nn.Linear(1, 1)))["device_arch"]
    assert found.startswith("gfx" if torch.version.hip else "sm_")
