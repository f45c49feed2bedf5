"""Runs a notebook in a fresh kernel of this very Python, or a module of this room in a fresh process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import Instance

from siliconbench.machine import tuning
from siliconbench.record import store


class OwnKernel(AsyncKernelManager):
    """A kernel of this very Python: a kernelspec that lies about, or a JUPYTER_PATH, would run another in silence.

    further: variables of its environment; what it starts, as loader processes, inherits them."""

    transport, further = "ipc", dict[str, str]()
    kernel_spec_manager = Instance(KernelSpecManager, (), {"kernel_dirs": []})

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Starts it, its progress as JSON on stderr; what it prints of its own end goes nowhere: the caller says it."""
        self.folder = tempfile.TemporaryDirectory(prefix="sb-", dir="/tmp")  # a socket's path has 103 characters
        self.connection_file = f"{self.folder.name}/k.json"
        env = options.pop("env", os.environ) | {"SILICONBENCH_PROGRESS": "1"} | self.further
        await super().start_kernel(stderr=subprocess.DEVNULL, env=env, **options)


def execute(source: Path, target: Path | None, parameters: dict[str, Any], progress: Any = None) -> Any:
    """The executed notebook, also saved as target: at its end; with progress, to whose write() goes what it prints to
    stderr, while it runs, too (a page of many figures would be written a hundred times).
    papermill.PapermillExecutionError when a cell fails, nbclient's DeadKernelError when the kernel dies."""
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"kernel_name": "python3", "progress_bar": False, "stderr_file": progress}
    options["request_save_on_cell_execute"] = progress is not None
    options["shutdown_kernel"] = "immediate"  # its end by itself takes seconds, for which nobody needs to wait
    options["kernel_manager_class"] = type("Kernel", (OwnKernel,), {"further": tuning.variables(parameters)})
    return papermill.execute_notebook(source, target, parameters, **options)


def child(module: str, *given: str, env: dict[str, str]) -> str:
    """What a module of this room prints in a fresh process; RuntimeError with its last words if it fails."""
    command, env = [sys.executable, "-m", f"siliconbench.sweep.{module}", *given], os.environ | env
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(store.plain((done.stderr.strip().splitlines() or ["Kernel died"])[-1]))
    return done.stdout
