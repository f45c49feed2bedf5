"""The models: torchvision's classifiers, the same weights for the same seed, at the right image size."""

import subprocess
import sys

import pytest
import torch

from siliconbench.record.schema import Case
from siliconbench.run import models
from siliconbench.run.vision import models as zoo
from siliconbench.run.zoo import torchvisions


def build(name, seed, mode="inference"):
    return models.build(Case(model=name, batch_size=1, device="cpu", seed=seed, mode=mode)).model


def px_of(name):
    return torchvisions(name, None).pixels.px


def test_a_classifier_has_the_smallest_image_size_that_its_weights_know():
    names = ("inception_v3", "mobilenet_v3_small", "regnet_y_400mf", "efficientnet_v2_s")
    sizes = [min(w.transforms().crop_size[0] for w in zoo.get_model_weights(name)) for name in names]
    assert [px_of(name) for name in names] == sizes == [299, 224, 224, 384]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet", "squeezenet1_0", "vit_b_32"])
def test_a_seed_gives_the_same_weights_and_a_thousand_classes(name):
    px = px_of(name)
    batch = torch.rand(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    first, second, other = (models.stepper(build(name, seed), "inference")(batch) for seed in (1, 1, 2))
    assert first.shape == (2, 1000)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "name", ["alexnet", "resnet18", "mobilenet_v3_small", "squeezenet1_1", "vit_b_32", "googlenet"]
)
def test_outputs_differ_by_image_and_are_numbers_that_fp16_holds(name):
    images = models.patterns(4, 224, seed=2).float()
    with torch.inference_mode():
        outputs = build(name, 2021)((images - 118) / 58)
    assert float(outputs.std(0).mean() / outputs.mean(0).std()) >= 0.1
    assert 1e-4 < float(outputs.std()) < 1e4  # fp16: 6e-8 to 65,504


def test_calibration_changes_neither_the_mode_nor_what_a_training_step_does():
    model = build("resnet18", 3)
    assert not any(part.training for part in model.modules()) and model.bn1.momentum == 0.1
    assert all(part.training for part in build("resnet18", 3, "train").modules())


def test_a_fingerprint_is_of_the_architecture_and_not_of_the_weights():
    prints = [models.fingerprint(build(name, seed)) for name, seed in
              (("squeezenet1_0", 1), ("squeezenet1_0", 2), ("squeezenet1_1", 1))]  # fmt: skip
    assert prints[0] == prints[1] != prints[2] and len(prints[0]) == 12


def test_inception_takes_its_own_size():
    assert build("inception_v3", 0)(torch.zeros(1, 3, 299, 299)).shape == (1, 1000)


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 2e-4), ("bf16", 0.8)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_precision_and_layout_change_the_work_and_not_the_answer(precision, bound, layout):
    batch = torch.rand(4, 3, 64, 64)
    wanted = build("resnet18", 3)(batch).detach()
    case = Case(model="resnet18", batch_size=4, device="cpu", precision=precision, memory_format=layout)
    prepared = models.prepared(build("resnet18", 3), case)
    dtype, memory_format = models.form(case)
    got = models.stepper(prepared, "inference")(batch.to(dtype, memory_format=memory_format)).float()
    assert next(prepared.parameters()).dtype == dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert float((got - wanted).abs().max() / wanted.std()) < bound


def test_a_training_step_learns_the_labels_it_is_given():
    model = build("resnet18", 3, "train")
    before = [p.clone() for p in model.parameters()]
    step = models.stepper(model, "train")
    loss = step(torch.rand(4, 3, 64, 64))
    assert model.training and torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert float(loss.detach()) == pytest.approx(6.9, abs=1.5)  # log(1000) for random guesses


def test_models_with_helpers_train_too():
    assert torch.isfinite(models.stepper(build("googlenet", 3, "train"), "train")(torch.rand(2, 3, 224, 224)))


def test_a_source_has_its_names_without_torch():
    code = "import sys, siliconbench.knobs as k; print(*k.registered('torchvision'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    tasks = (zoo, zoo.detection, zoo.segmentation)
    assert done == [*sorted(name for task in tasks for name in zoo.list_models(module=task)), "False"]


def test_a_model_that_no_source_has_is_refused():
    with pytest.raises(ValueError, match="resnet5000"):
        build("resnet5000", 0)


def test_torchvision_loads_without_the_compiler_and_finds_it_when_it_is_needed():
    code = """
import sys
from siliconbench.run import passes, result, selftest
assert not {"torch._dynamo", "sympy"} & sys.modules.keys()
import torch, torchvision
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
print(torchvision.ops.roi_align(torch.ones(1, 3, 8, 8), boxes, 2).sum().item())
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item(), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["12.0", "2.0", "True"]), done.stderr
