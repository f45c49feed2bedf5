"""The lines that use a setting, for the terminal and the page: Python's and, for the allocator, the shell's."""

from pathlib import Path

from siliconbench.machine import tuning
from siliconbench.record import axes, named, schema

LOADED = {  # of each source: what is imported, and how its model is made
    "torchvision": ("from torchvision.models import get_model", 'get_model("{model}", weights=None{more})'),
    "timm": ("import timm", 'timm.create_model("{model}")  # pretrained=True: trained'),
    "own": ("from {module} import {factory}", "{factory}()"),
}
TRAINED = '  # weights="DEFAULT": trained ones'


def code(r: schema.Record) -> str:
    """Lines of Python that put a batch through this run's model in its setting. A file's folder must be on its path."""
    c, precision = r.case, axes.PRECISIONS[r.case.precision]
    place, _, factory = named.word(c.source, c.model, here=True).rpartition(":")
    detects = "rcnn" in c.model or c.model.startswith(("fcn", "deeplab", "lraspp", "ssd", "retinanet"))
    more = ", weights_backbone=None" if detects else ""  # else it would be downloaded
    told = {"model": c.model, "module": Path(place).stem if place.endswith(".py") else place, "factory": factory}
    imported, made = (line.format(**told, more=more) for line in LOADED[c.source])
    to = f'device="{c.device}", dtype=torch.{precision.dtype}'
    layout = f"memory_format=torch.{axes.LAYOUTS[c.memory_format]}"
    flags = "".join(f"torch.backends.{part}.allow_tf32 = {precision.tf32}\n" for part in ("cuda.matmul", "cudnn"))
    mode = f', mode="{c.compile}"' if isinstance(c.compile, str) else ""
    compiled = f"\nmodel = torch.compile(model{mode})" if c.compile else ""
    return f"""import torch
{imported}

{flags if c.device == "cuda" else ""}model = {made}{TRAINED if c.source == "torchvision" else ""}
model = model.eval().to({to}).to({layout}){compiled}
images = torch.rand({c.batch_size}, 3, {c.image_px}, {c.image_px})  # yours, normalised
with torch.inference_mode():
    output = model(images.to({to}, {layout}))  # of a classifier: .argmax(1)"""


def using(r: schema.Record) -> str:
    """The same, with what the shell must export before Python starts, where the setting needs any."""
    exported = [f"export {name}={value}" for name, value in tuning.variables(dict(r.case)).items()]
    return "\n".join([*exported, "python - <<'END'", code(r), "END"] if exported else [code(r)])
