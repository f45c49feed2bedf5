"""The models: any of torchvision's classifiers, the same weights for the same seed, at the right picture size."""

import pytest
import torch
import torchvision.models as zoo

from siliconbench.run import models


def test_every_classifier_has_a_picture_size_that_its_weights_know():
    for name in zoo.list_models(module=zoo):
        sizes = [w.transforms().crop_size[0] for w in zoo.get_model_weights(name)]
        assert models.image_px(name) in sizes
    assert (models.image_px("inception_v3"), models.image_px("resnet50"), models.image_px("vit_h_14")) == (
        299,
        224,
        224,
    )


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet", "squeezenet1_0", "vit_b_32"])
def test_a_seed_gives_the_same_weights_and_a_thousand_classes(name):
    px = models.image_px(name)
    pictures = torch.rand(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    first, second, other = (models.stepper(models.build(name, seed), "inference")(pictures) for seed in (1, 1, 2))
    assert first.shape == (2, 1000)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_inception_takes_its_own_size():
    assert models.build("inception_v3", 0)(torch.zeros(1, 3, 299, 299)).shape == (1, 1000)


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.4)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_precision_and_layout_change_the_work_and_not_the_answer(precision, bound, layout):
    cpu, pictures = torch.device("cpu"), torch.rand(4, 3, 64, 64)
    wanted = models.build("resnet18", 3)(pictures).detach()
    placed = models.place(models.build("resnet18", 3), cpu, precision, layout, False)
    ready = pictures.to(models.DTYPES[precision], memory_format=models.LAYOUTS[layout])
    got = models.stepper(placed, "inference")(ready).float()
    assert next(placed.parameters()).dtype == models.DTYPES[precision]
    assert float((got - wanted).abs().max() / wanted.std()) < bound


def test_a_training_step_learns_the_labels_it_is_given():
    model = models.build("resnet18", 3, "train")
    before = [p.clone() for p in model.parameters()]
    step = models.stepper(model, "train")
    loss = step(torch.rand(4, 3, 64, 64))
    assert model.training and torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert float(loss.detach()) == pytest.approx(6.9, abs=1.5)  # log(1000) for random guesses


def test_models_with_helpers_train_too():
    assert torch.isfinite(models.stepper(models.build("googlenet", 3, "train"), "train")(torch.rand(2, 3, 224, 224)))
