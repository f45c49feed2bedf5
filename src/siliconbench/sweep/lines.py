"""The lines that use a setting, for the terminal and the page: Python's and, for the allocator, the shell's."""

from siliconbench.machine import tuning
from siliconbench.record.axes import LAYOUTS, PRECISIONS
from siliconbench.record.schema import Record


def code(r: Record) -> str:
    """Lines of Python that classify a batch in this run's setting."""
    c, precision = r.case, PRECISIONS[r.case.precision]
    to = f'device="{c.device}", dtype=torch.{precision.dtype}'
    layout = f"memory_format=torch.{LAYOUTS[c.memory_format]}"
    flags = "".join(f"torch.backends.{part}.allow_tf32 = {precision.tf32}\n" for part in ("cuda.matmul", "cudnn"))
    mode = f', mode="{c.compile}"' if isinstance(c.compile, str) else ""
    compiled = f"\nmodel = torch.compile(model{mode})" if c.compile else ""
    return f"""import torch
from torchvision.models import get_model

{flags if c.device == "cuda" else ""}model = get_model("{c.model}", weights=None)  # weights="DEFAULT": trained ones
model = model.eval().to({to}).to({layout}){compiled}
images = torch.rand({c.batch_size}, 3, {c.image_px}, {c.image_px})  # yours, normalised
with torch.inference_mode():
    classes = model(images.to({to}, {layout})).argmax(1)"""


def using(r: Record) -> str:
    """The same, with what the shell must export before Python starts, where the setting needs any."""
    exported = [f"export {name}={value}" for name, value in tuning.variables(dict(r.case)).items()]
    return "\n".join([*exported, "python - <<'END'", code(r), "END"] if exported else [code(r)])
