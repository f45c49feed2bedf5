"""What becomes of a run that fails: its kind, its words, and which larger batches are not tried."""

import pytest
from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError

from siliconbench.record import store
from siliconbench.record.schema import Error
from siliconbench.sweep import failure
from tests.sweep.test_plan import planned

KILLED = "DataLoader worker (pid 123) is killed by signal: Killed. "
GONE = "DataLoader worker (pid(s) 4711) exited unexpectedly"
SHARED = (
    "DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
)


def of(name, text, killed_for_memory=False):
    return failure.reason(PapermillExecutionError(1, 1, "x", name, text, []), killed_for_memory)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 18.47 GiB.", "out_of_memory"),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: no memory", "out_of_memory"),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9.00 GB)", "out_of_memory"),
        ("OSError", "[Errno 12] Cannot allocate memory", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("RuntimeError", KILLED, "out_of_memory"),
        ("RuntimeError", GONE, "worker"),
        ("RuntimeError", SHARED + "shared memory.", "worker"),
        ("Refused", "tf32 is a mode of NVIDIA GPUs", "unsupported"),
        ("ValueError", "something else at /home/anna/x", "failed"),
        ("ValueError", "a value was Refused: x", "failed"),
    ],
)
def test_what_went_wrong_has_a_kind_and_one_plain_line(name, text, kind):
    found = of(name, text)
    assert found.kind == kind and found.message.startswith(f"{name}:") and "anna" not in found.message


def test_a_worker_that_the_system_killed_for_memory_is_out_of_memory():
    assert of("RuntimeError", GONE, killed_for_memory=True).kind == "out_of_memory"
    assert of("ValueError", "something else", killed_for_memory=True).kind == "failed"


def test_a_dead_kernel_is_out_of_memory_only_when_the_system_says_so():
    assert failure.reason(DeadKernelError("Kernel died"), True).kind == "out_of_memory"
    assert failure.reason(DeadKernelError("Kernel died"), False).kind == "killed"


@pytest.mark.parametrize("error", [Error(kind="out_of_memory", message="no room"), of("RuntimeError", KILLED)])
def test_larger_batches_are_not_tried_after_memory_ran_out(tmp_path, error):
    this = planned(tmp_path, batch_size="1 8 64", image_model="resnet18 alexnet")
    place = {(c.model, c.batch_size): i for i, (c, _, _) in enumerate(this.runs, 1)}
    lost = failure.failed(this, place["resnet18", 8], store.now(), error)
    limits = {key: failure.too_large(this.runs[i - 1].case, [lost]) for key, i in place.items()}
    assert {key for key, why in limits.items() if why} == {("resnet18", 8), ("resnet18", 64)}
    assert limits["resnet18", 64].message == "not tried: batch size 8 ran out of memory"
