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
    "IMAGE_MODEL": [
        "resnet5O",
        "ResNet50",
        "resnet50 nothing",
        "../resnet50",
        "timm:resnet5O",
        "<script>",
        "timm:",
        ":resnet50",
        "no/such.py:net",
        "a" * 300 + ".py:net",
        "src:net",
        "no.such:net",
        "a" * 10_000,
        f"{__file__}:no_such_factory",
        f"{__file__}:test_defaults_and_list",
        f"{__file__}:needs",
        "README.md:net",
        "os:getcwd",
        "json:../x",
    ],
    "MIN_SECONDS": ["-1", "inf", "nan", "1e9", "ten", "86401", "1s"],
    "WORKERS": ["-1", "257", "all", "1.5", "AUTO"],
    "INPUT": ["FAST", "slow", "fast original", "folder", "no/such", "README.md", "src", "~nobody/x"],
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


def needs(width):
    """A factory that asks for too much."""


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

    every, tasks = (
        torchvision.models,
        (torchvision.models, torchvision.models.detection, torchvision.models.segmentation),
    )
    assert knobs.registered("torchvision") == sorted(name for task in tasks for name in every.list_models(module=task))


def test_the_names_are_those_of_timm(timm):
    assert knobs.registered("timm") == sorted(timm.list_models())


def test_a_near_miss_names_the_nearest():
    with pytest.raises(WrongKnob, match="resnet50"):
        knobs.read({"IMAGE_MODEL": "resnet5O"})


@pytest.mark.parametrize(("knob", "text"), [("BATCH_SIZE", "0"), ("INPUT", "no/such/folder")])
def test_the_refusal_is_one_line_exit_2_and_comes_before_torch(knob, text, tmp_path):
    code = "import sys, siliconbench.__main__ as m; c = m.main(); print('torch' in sys.modules); sys.exit(c)"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "image"],
        env={knob: text, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == "False\n"
    assert done.stderr.count("\n") == 1 and f"{knob}: given '{text}'" in done.stderr
    assert time.perf_counter() - start < 10  # a hang, not a speed: what it costs is told by `make bench`


CELLS = """model: str = "resnet50"  # a classifier
batch_size: int = 64
min_seconds: float = 10.0
workers: int = None
compile: bool = False
device: str = "auto"
results: str = "reports/mine"
"""
OWN = {"model": "resnet50", "batch_size": 64, "min_seconds": 10.0, "workers": None, "compile": False, "device": "auto"}


def cell(injected="", **given):
    """A notebook's variables after its parameters' cells, as IPython has them; given by hand, or injected."""
    return {"In": ["", CELLS, *filter(None, [injected])], "results": "reports/mine"} | OWN | given


def test_a_notebooks_parameters_are_the_values_that_a_case_takes_and_its_files_those_of_the_clone():
    read = knobs.parameters(cell(workers="auto", compile="reduce-overhead"))
    assert read == OWN | {"compile": "reduce-overhead", "results": str(knobs.paths.ROOT / "reports/mine")}
    for results in ("", "/elsewhere"):
        assert knobs.parameters(cell(results=results))["results"] == results
    assert knobs.parameters(cell('# Parameters\nworkers = 2\nmodel = "alexnet"\n', workers=2))["workers"] == 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"model": "resnet5"},
            "model: given 'resnet5'; allowed: torchvision's names, timm:NAME, path/to/file.py:factory, ",
        ),
        ({"batch_size": 0}, "batch_size: given '0'; allowed: a whole number from 1 to 65536"),
        ({"batch_size": None}, "batch_size: given 'auto'; allowed: a whole number"),
        ({"min_seconds": float("nan")}, "min_seconds: given 'nan'; allowed: seconds from 0 to 86400"),
        ({"workers": -1}, "workers: given '-1'; allowed: auto or a whole number from 0 to 256"),
        ({"compile": "fast"}, "compile: given 'fast'; allowed: 0 or 1 or reduce-overhead or max-autotune"),
        ({"device": ["cuda"]}, "device: given \"['cuda']\"; allowed: auto or cpu or cuda or mps or xpu"),
        ({"results": "nowhere://x"}, "results: given 'nowhere://x'; allowed: a folder"),
        (
            {"injected": "# Parameters\nworker = 2\n"},
            "worker: this notebook has no such parameter; the nearest are workers",
        ),
    ],
)
def test_a_wrong_parameter_is_one_sentence_in_the_notebooks_spelling(given, why):
    with pytest.raises(WrongKnob) as refused:
        knobs.parameters(cell(**given))
    assert str(refused.value).startswith(why) and refused.value._render_traceback_() == [str(refused.value)]


def test_a_name_that_was_taken_back_is_asked_for():
    own = cell()
    del own["compile"]
    with pytest.raises(WrongKnob, match="compile: run the parameters' cell again"):
        knobs.parameters(own)
