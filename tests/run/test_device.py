"""The device: here the CPU; what it says of itself, and what it refuses."""

import pytest
import torch

from siliconbench.run import device as devices

CPU = torch.device("cpu")


def test_without_an_accelerator_the_cpu_is_chosen_either_way():
    if torch.accelerator.is_available():
        assert devices.choose(True) != CPU
    else:
        assert devices.choose(True) == CPU
    assert devices.choose(False) == CPU


def test_what_is_described_is_what_torch_reads_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert devices.describe(CPU)["threads"] == 1
    finally:
        torch.set_num_threads(before)
    facts = devices.describe(CPU)
    assert {k for k, v in facts.items() if v is None} == set(facts["unknown"])


def test_the_reference_class_refuses_silent_work_on_the_cpu(monkeypatch):
    mps = torch.device("mps")
    assert devices.refusal(mps, reference=True) is None
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in devices.refusal(mps, reference=True)
    assert devices.refusal(mps, reference=False) is None
    assert devices.refusal(CPU, reference=True) is None


def test_tf32_is_refused_where_there_is_none():
    assert "NVIDIA" in devices.lacks(CPU, "tf32")
    assert devices.lacks(CPU, "bf16") is None


def test_memory_of_the_process_is_in_bytes():
    held = torch.ones(50_000_000)  # 200 MB
    device, process, why = devices.peak_memory(CPU)
    assert held.nbytes < process < 64 * 2**30
    assert device is None and why


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator on this machine")
def test_an_accelerator_tells_its_name_memory_and_peak():
    found = devices.choose(True)
    torch.ones(10**6, device=found)
    assert devices.describe(found)["device_name"]
    assert (devices.peak_memory(found)[0] or 4e6) >= 4e6
