"""Models of every source: timm's, detectors, segmenters, and one's own, right and wrong; what is said of each."""

import os
import sys
import time

import pytest
import torch

from siliconbench.knobs import WrongKnob, read
from siliconbench.record.named import named, word
from siliconbench.record.schema import Case
from siliconbench.run import models, passes, roofline, selftest, zoo

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 16 * 16, 5)

    def forward(self, batch):
        return {"scores": self.layer(batch.flatten(1)), "seen": [batch.mean((1, 2, 3))]}


def net():
    print("I print")
    model = Net()
    model.image_px, model.mean, model.std = 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return model
"""
WRONG = {  # the body of a factory, and what is said of it
    "raise ValueError('no luck')": "ValueError: no luck",
    "import sys; sys.exit(3)": "SystemExit: 3",
    "return 7": "gave a int",
    "return net().half()": "float16",
    "import time; time.sleep(60)": "took over 1 s",
    "m = net(); m.input_shape = (1, 16, 16); return m": r"\(1, 16, 16\) is not",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The call that gives the case of a factory with this body in a file of one's own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def made(body="return net()", **case):
        file = tmp_path / "my_nets.py"
        file.write_text(f"{NET}\n\ndef build():\n    {body}\n")
        return Case(**{"batch_size": 2, "device": "cpu", "min_seconds": 0.1} | named(f"{file}:build") | case)

    return made


@pytest.mark.parametrize("body", WRONG)
def test_a_factory_that_makes_no_model_is_told_in_one_line(body, own, monkeypatch):
    monkeypatch.setattr(zoo, "OWN_S", 1.0)
    with pytest.raises(zoo.Unfit, match=WRONG[body]) as error:
        passes.set_up(own(body))
    assert "\n" not in str(error.value)


def test_an_own_model_has_its_own_images_outputs_and_name(own):
    bench = passes.set_up(own(precision="bf16"))
    assert (bench.case.source, bench.case.model, bench.case.image_px) == ("own", "build", 16)
    assert float(bench.finish(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)).max()) == 2.0
    assert sorted(bench.call(bench.ready_batch)) == ["scores", "seen"]
    found = selftest.outputs(bench)
    assert found.agree and found.top1_agreement is None and "no classes" in found.unknown["top1_agreement"]
    with torch.no_grad():
        bench.model.layer.weight.neg_()
    assert not selftest.outputs(bench).agree


@pytest.mark.parametrize(
    ("body", "said"), [("return net()", 1), ("n = net(); n.loss = lambda out: out['scores'].sum(); return n", 0)]
)
def test_an_own_model_trains_by_its_loss_or_by_the_mean_of_its_outputs_and_that_is_said(body, said, own):
    bench = passes.set_up(own(body, mode="train"))
    assert torch.isfinite(bench.call(bench.ready_batch)) and len(bench.notes) == said


def test_flags_that_a_module_changes_are_told_and_do_not_reach_the_measurement(own):
    bench = passes.set_up(
        own("torch.backends.cudnn.benchmark = True; torch.set_default_dtype(torch.float64); return net().float()")
    )
    torch.backends.cudnn.benchmark = False
    told = " ".join(bench.notes)
    assert "cudnn.benchmark False to True" in told and "default dtype torch.float32 to torch.float64" in told
    assert torch.get_default_dtype() == torch.float32


def test_a_case_of_an_own_model_holds_its_name_and_no_place(own, tmp_path):
    told = passes.set_up(own()).case.model_dump_json()
    assert '"model":"build"' in told and str(tmp_path) not in told and "my_nets" not in told
    assert word("own", "build", here=True).endswith("my_nets.py:build") and word("own", "build") == "file.py:build"


def test_two_models_of_one_name_need_another_name(own, tmp_path):
    own()
    file = tmp_path / "my_nets.py"
    (tmp_path / "others.py").write_text(NET)
    with pytest.raises(Exception, match="NAME="):
        read({"IMAGE_MODEL": f"{file}:net {tmp_path / 'others.py'}:net"})


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_detector_finds_as_many_boxes_in_any_image_trains_and_is_counted(name):
    bench = passes.set_up(
        Case(model=name, batch_size=1, device="cpu", asked_px=96, precision="fp32", memory_format="channels_last")
    )
    random = [torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    counts = [len(bench.call(image)[0]["boxes"]) for image in (bench.ready_batch, *random)]
    assert len(set(counts)) == 1 and 0 < counts[0] <= 300 and any(f"top {counts[0]}" in note for note in bench.notes)
    assert "lists of what it found" in selftest.outputs(bench)
    flop, moved, uncounted = roofline.work_per_image(bench)
    assert flop > 1e7 and moved > 1e6 and any("nms" in operator for operator in uncounted)
    train = passes.set_up(Case(model=name, batch_size=2, device="cpu", asked_px=96, mode="train"))
    assert torch.isfinite(train.call(train.ready_batch))


def test_a_segmenter_is_compared_pixel_by_pixel_and_trains():
    case = Case(model="lraspp_mobilenet_v3_large", batch_size=2, device="cpu", asked_px=64, precision="bf16")
    found = selftest.outputs(passes.set_up(case))
    assert found.agree and found.top1_agreement is None
    train = passes.set_up(case.model_copy(update={"mode": "train", "precision": "fp32"}))
    assert torch.isfinite(train.call(train.ready_batch))


def test_a_size_that_a_model_refuses_is_refused_in_its_own_words():
    with pytest.raises(AssertionError, match="Wrong image height! Expected 224 but got 64"):
        passes.set_up(Case(model="vit_b_16", batch_size=1, device="cpu", asked_px=64))


def test_a_model_of_timm_has_timm_s_images(timm):
    bench = passes.set_up(Case(source="timm", model="mobilenetv3_small_050", batch_size=2, device="cpu"))
    assert bench.case.image_px == 224 and bench.call(bench.ready_batch).shape == (2, 1000)
    made = models.build(Case(source="timm", model="vit_tiny_patch16_224", batch_size=1, device="cpu"))
    assert made.pixels.mean == (0.5, 0.5, 0.5)


def test_what_takes_too_long_ends_and_leaves_the_clock_as_it_was():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="over 0 s"), zoo.at_most(0.1):
        time.sleep(5)
    assert time.monotonic() - start < 4


def test_of_a_file_its_own_names_are_the_nearest(tmp_path):
    """What a function names within itself is no factory."""
    (tmp_path / "nets.py").write_text("from torch import nn\n\ndef build():\n    model = nn.ReLU()\n    return model\n")
    for name in ("bild", "model"):
        with pytest.raises(WrongKnob, match=r"the nearest are (build|nn), (build|nn)\)?"):
            read({"IMAGE_MODEL": f"{tmp_path / 'nets.py'}:{name}"})
