"""sweep.kernel"""

import subprocess
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


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
