"""Run a notebook in a fresh kernel of this very Python, and render one as a page.

papermill's own exit and metadata do not tell success: a caller looks for what the notebook was to leave behind.
"""

import logging
import subprocess
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbconvert.preprocessors import TagRemovePreprocessor
from traitlets import default

from siliconbench.record import write_whole

TEMPLATES = Path(__file__).parent / "templates"
# nbconvert looks for its own templates in Jupyter's folders alone: `pip install --target` puts them beside it.
BESIDE = Path(nbconvert.__file__).parents[1] / "share" / "jupyter" / "nbconvert" / "templates"
for loud in ("papermill", "asyncio"):  # what goes wrong is told by the caller, in one line
    logging.getLogger(loud).setLevel(logging.CRITICAL)
HIDDEN = {"parameters", "injected-parameters", "remove_cell"}  # tags of cells that a page leaves out


class OwnKernel(AsyncKernelManager):
    """A kernel of the Python that runs this, over sockets of this machine.

    It looks in no folder for kernelspecs: one that lies about, or a JUPYTER_PATH, would run another Python in silence.
    """

    transport = "ipc"

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """None, once the kernel runs. What it says of its own end goes nowhere: the caller tells it in one line."""
        await super().start_kernel(stderr=subprocess.DEVNULL, **options)

    @default("kernel_spec_manager")
    def _no_folders(self) -> KernelSpecManager:
        return KernelSpecManager(parent=self, kernel_dirs=[])


def execute(source: Path, target: Path | None, parameters: dict[str, Any], progress: Any = None) -> Any:
    """The executed notebook, also saved as target while it runs. What it prints to stderr goes to progress.write, too.

    papermill.PapermillExecutionError when a cell fails, nbclient's DeadKernelError when the kernel dies.
    """
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        source,
        target,
        parameters,
        kernel_name="python3",
        kernel_manager_class=OwnKernel,
        progress_bar=False,
        stderr_file=progress,
    )


def to_html(executed: Any) -> str:
    """The page of an executed notebook: what its cells show, without code, in the house template."""
    exporter = nbconvert.HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES), str(BESIDE)],
        extra_template_paths=[str(BESIDE)],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags=HIDDEN), enabled=True)
    html, _ = exporter.from_notebook_node(nbformat.from_dict(executed))
    return str(html)


def render(source: Path, page: Path, parameters: dict[str, Any], runs: Path) -> Path:
    """The path of the page that the notebook becomes with these parameters; the executed copy goes to runs."""
    executed = execute(source, runs / f"{page.stem}.ipynb", parameters)
    return write_whole(page, to_html(executed))
