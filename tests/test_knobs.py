"""Every knob: what it takes, what it refuses, and that a refusal is one line before anything slow is loaded."""

import subprocess
import sys
import time

import pytest

from siliconbench import knobs
from siliconbench.knobs import WrongKnob

WRONG = {
    "USE_GPU": ["2", "-1", "yes", "true", "0.0", "1 0"],
    "NUM_IMAGES": ["0", "-1", "1e3", "ten", "1000.5", "10000000000", "1 2", "١٠"],
    "BATCH_SIZE": ["0", "-8", "8.0", "65537", "8;16", "8 x", "99999999999999"],
    "IMAGE_MODEL": ["resnet5O", "ResNet50", "resnet50 nothing", "../resnet50", "fcn_resnet50", "<script>"],
    "MIN_SECONDS": ["-1", "inf", "nan", "1e9", "ten", "86401", "1s"],
    "WORKERS": ["-1", "257", "all", "1.5", "AUTO"],
    "INPUT": ["FAST", "slow", "fast original"],
    "REPEATS": ["0", "-5", "1001", "five"],
    "SEED": ["-1", "4294967296", "abc"],
    "MACHINE": ["My Mac", "../up", "a/b", "-x", "Ünïcode", "a" * 49, "mac.local"],
    "PRECISION": ["fp64", "FP32", "fp32 int8", "half"],
    "LAYOUT": ["nhwc", "contiguous nchw"],
    "COMPILE": ["2", "yes", "default", "reduce_overhead"],
    "ALLOCATOR": ["jemalloc", "default", "1"],
    "THREADS": ["0", "-2", "two", "4097", "1.5"],
    "MODE": ["training", "eval"],
    "TELEMETRY": ["2", "on"],
    "FRESH": ["2", "maybe"],
}


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in WRONG.items() for t in texts])
def test_a_wrong_knob_says_what_was_given_and_what_is_allowed(name, text):
    with pytest.raises(WrongKnob) as error:
        knobs.read({name: text})
    told = str(error.value)
    assert told.startswith(f"{name}: given ") and "allowed: " in told and "\n" not in told


def test_there_are_more_than_forty_wrong_ones():
    assert sum(map(len, WRONG.values())) >= 40


def test_defaults_and_lists():
    plain = knobs.read({})
    assert plain["IMAGE_MODEL"] == ["resnet50"] and plain["BATCH_SIZE"] == [64] and plain["WORKERS"] is None
    assert set(plain) == set(knobs.KNOBS)
    many = knobs.read({"BATCH_SIZE": " 1, 8,64 8 ", "IMAGE_MODEL": "resnet18,mobilenet_v3_small", "WORKERS": "0"})
    assert many["BATCH_SIZE"] == [1, 8, 64] and many["IMAGE_MODEL"] == ["resnet18", "mobilenet_v3_small"]
    assert many["WORKERS"] == 0


def test_the_names_are_those_of_torchvision():
    import torchvision

    assert knobs.classifiers() == sorted(torchvision.models.list_models(module=torchvision.models))


def test_a_near_miss_names_the_nearest():
    with pytest.raises(WrongKnob, match="resnet50"):
        knobs.read({"IMAGE_MODEL": "resnet5O"})


def test_the_refusal_is_one_line_exit_2_and_comes_before_torch(tmp_path):
    code = "import sys, siliconbench.__main__ as m; c = m.main(); print('torch' in sys.modules); sys.exit(c)"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "image"],
        env={"BATCH_SIZE": "0", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == "False\n"
    assert done.stderr.count("\n") == 1 and "BATCH_SIZE: given '0'" in done.stderr
    assert time.perf_counter() - start < 10  # a hang, not a speed: what it costs is told by `make bench`
