"""The suite's protocol: the same for everybody, so that a machine's figures can be set beside another's."""

from siliconbench.record.fields import Case, Sweep

NAME, CUSTOM = "sb26", "custom"  # the year is in the name: other models or lengths make another
MODELS = ("mobilenet_v3_small", "resnet50", "vit_b_16")  # many small launches, convolutions, matrix products
FIGURES = {"single": 1, "bulk": 64}  # the two to quote, and the batch size of each
BATCHES, REPEATS = 3, 3  # batches that are completed end to end, at least; fresh processes a case


def cases(device: str) -> list[Case]:
    """What the suite measures: each model at each batch size, in the reference class."""
    same = {"device": device, "input": "fast", "workers": None, "min_seconds": 6.0, "minutes": 0.0, "seed": 2021}
    sizes = [(model, size) for model in MODELS for size in FIGURES.values()]
    return [Case.model_validate(same | {"model": m, "batch_size": n, "num_images": BATCHES * n}) for m, n in sizes]


def followed(sweep: Sweep, case: Case) -> str:
    """The suite's name if a run is of it: it says so, and its case is one of the protocol's, at 224 px; else empty."""
    return NAME if sweep.suite == NAME and case.image_px in (None, 224) and case.asked() in cases(case.device) else ""
