"""A machine with two NVIDIA GPUs, for the tests that ask for it."""

import sys

import pytest

from tests.machine import nvidia


@pytest.fixture
def nvml(monkeypatch):
    """A pynvml of two GPUs in the place of the real one, in an environment that chooses none."""
    made = nvidia.module()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made
