"""The device: here the CPU; what it says of itself, and what it refuses."""

import os
import sys
from types import SimpleNamespace

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
        assert devices.describe(CPU, "0123456789ab")["threads"] == 1
    finally:
        torch.set_num_threads(before)
    facts = devices.describe(CPU, "0123456789ab")
    assert {k for k, v in facts.items() if v is None} == set(facts["unknown"])


@pytest.mark.parametrize("value", ["1", "2"])  # torch takes any number but 0
def test_the_reference_class_refuses_silent_work_on_the_cpu(monkeypatch, value):
    mps = torch.device("mps")
    for off in (None, "0"):
        if off:
            monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", off)
        assert devices.refusal(mps, reference=True) is None
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", value)
    assert "PYTORCH_ENABLE_MPS_FALLBACK lets" in devices.refusal(mps, reference=True)
    assert devices.refusal(mps, reference=False) is None
    assert devices.refusal(CPU, reference=True) is None


def test_tf32_is_refused_where_there_is_none():
    assert "NVIDIA" in devices.lacks(CPU, "tf32")
    assert devices.lacks(CPU, "bf16") is None


def test_memory_of_the_process_is_in_bytes():
    held = torch.ones(50_000_000)  # 200 MB
    devices.reset_peak(CPU)
    device, process, why = devices.peak_memory(CPU)
    assert held.nbytes < process < 64 * 2**30
    assert device is None and why


def test_the_peak_is_of_what_came_after_it_was_set_back():
    torch.ones(100_000_000)  # 400 MB, written and given back
    before = devices.peak_memory(CPU).process_bytes
    devices.reset_peak(CPU)
    if sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        assert devices.peak_memory(CPU).process_bytes < before - 300e6


@pytest.mark.parametrize("name", devices.UNTRUE)
def test_a_variable_that_makes_fp32_untrue_is_refused_in_the_reference_class(name, monkeypatch):
    for known in devices.UNTRUE:
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(name, devices.UNTRUE[name].lower())
    assert devices.refusal(CPU, reference=True) is None
    monkeypatch.setenv(name, "BF16")
    assert f"{name}=BF16" in devices.refusal(CPU, reference=True)
    assert devices.refusal(CPU, reference=False) is None


def test_variables_that_change_arithmetic_or_threads_are_told_and_nothing_personal(monkeypatch):
    given = {"KMP_AFFINITY": "granularity=fine,compact", "MIOPEN_USER_DB_PATH": "/home/me/db", "OMP_EMPTY": "",
             "CUDA_VISIBLE_DEVICES": "GPU-0123", "HF_TOKEN": "secret", "MKL_X": "<b>"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = devices.environment()
    assert found["KMP_AFFINITY"] == given["KMP_AFFINITY"] and found["MIOPEN_USER_DB_PATH"] == "(a path)"
    assert found["MKL_X"] == "?b?" and not {"CUDA_VISIBLE_DEVICES", "HF_TOKEN", "OMP_EMPTY"} & set(found)


def test_hip_has_no_tf32_and_is_not_called_cuda(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 4))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-")
    )
    assert "HIP" in devices.lacks(gpu, "tf32") and devices.lacks(gpu, "bf16") is None
    assert devices.architecture(gpu) == "gfx942"
    found = devices.describe(CPU, "0123456789ab")
    assert found["hip"] == "6.4" and "HIP" in found["unknown"]["cuda"]


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator on this machine")
def test_an_accelerator_or_cuda_tells_its_name_memory_and_peak():
    found = devices.choose(True)
    torch.ones(10**6, device=found)
    assert devices.describe(found, "0123456789ab")["device_name"]
    assert (devices.peak_memory(found)[0] or 4e6) >= 4e6
