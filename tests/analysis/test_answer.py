"""What a sweep ends with and its page opens with: this sweep's figures, what to believe, one step, the place."""

import re

import pytest

from siliconbench.analysis import answer, cases, stats, words
from siliconbench.record.schema import Record
from siliconbench.sweep import terminal
from tests.analysis.test_cases import put
from tests.samples import lost, sample, timed

MINE, TITLE = "amd-epyc-2-cores", "AMD EPYC, 2 cores, 24 GiB"
SEARCH, INPUT = put("sweep.search", True), put("checks.bottleneck", "input")


def sweep(*rates, day=1, slug=MINE, edits=(), start=1, **case):
    """A sweep's records of resnet50 at batch 64, a run for each rate."""
    return [
        made(sample(rate, **({"model": "resnet50", "batch_size": 64} | case)), repeat, day, slug, edits)
        for repeat, rate in enumerate(rates, start)
    ]


def made(data, repeat, day, slug, edits):
    data |= {"repeat": repeat, "created": f"202611{day:02d}T14{repeat:02d}00Z"}
    data["sweep"] = {"id": f"202611{day:02d}T140000Z-0123456789", "runs": 9, "order": repeat}
    data["machine"]["slug"] = slug
    for edit in edits:
        edit(data)
    return Record.model_validate(data)


def word(name, *reasons, disturbed=False):
    return put("verdict", {"word": name, "reasons": list(reasons), "disturbed": disturbed})


def failed(kind, message="no room", day=1, **case):
    return made(lost(message, kind, **({"model": "resnet50", "batch_size": 64} | case)), 9, day, MINE, ())


def said(*records, machine=MINE):
    """The four sentences: figures, belief, next step, place; of a fleet's machines the slugs alone."""
    sentences = answer.answer(answer.Asked(cases.runs(records), machine))
    return [re.sub(r"Chip of (\w+), 2 cores, 24 GiB", r"\1", sentence) for sentence in sentences]


QUIET = [100.0, 101.0, 99.0, 100.5, 99.5]
BUSY = word("contended", "Other programs took 0.21 of the CPU time: close other programs.", disturbed=True)


def test_the_figures_are_this_sweeps_alone_and_those_of_its_headline():
    now, then, others = sweep(*QUIET, day=2), sweep(300.0, 310.0, model="vit_b_16"), sweep(900.0, 905.0, slug="other")
    figures = said(*then, *now, *others)[0]
    (case,) = cases.cases(cases.runs(now)).to_dict("records")
    rate = words.rate_words(case["images_per_s"], case["low"], case["high"])
    assert figures == f"{TITLE} (cores), 2026-11-02: resnet50, batch 64, cpu: {rate}."
    assert terminal.headline(now) == [figures.removeprefix(f"{TITLE} (cores), 2026-11-02: ").removesuffix(".")]
    assert "vit_b_16" not in figures and "300" not in figures


def test_of_many_cases_four_are_named_the_fastest_of_each_model_first():
    sizes = [r for size in (1, 8, 64) for r in sweep(100.0 + size, 101.0 + size, batch_size=size, model="resnet18")]
    figures = said(*sizes, *sweep(10.0, 10.1), *sweep(5.0, 5.1, model="vit_b_16"))[0]
    assert re.findall(r"(\w+), batch (\d+)", figures) == [
        ("resnet18", "64"), ("resnet50", "64"), ("vit_b_16", "64"), ("resnet18", "8"),
    ]  # fmt: skip
    assert figures.endswith(" and 1 more, below.")


def test_a_search_gives_no_figure_but_its_finalists_do():
    search = sweep(500.0, day=2, edits=[SEARCH], precision="bf16")
    final = sweep(98.0, 99.0, start=2, day=2)
    assert "bf16" not in said(*search, *final)[0] and "98.5 images/s" in said(*search, *final)[0]
    assert "2026-11-01: resnet50" in said(*sweep(*QUIET), *search)[0]


def test_an_unusual_setting_is_named_with_the_figure():
    assert (
        "resnet50, original input, 0 workers, batch 64, cpu: 100.0"
        in said(*sweep(*QUIET, input="original", workers=0))[0]
    )


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (sweep(*QUIET), "5 runs: 5 clean. It can be believed, within its interval."),
        (sweep(100.0), "1 run: 1 clean. One run: within this run only, not for comparison."),
        (
            sweep(100.0, 101.0, 99.0) + sweep(60.0, 62.0, 61.0, start=4, edits=[BUSY]),
            "6 runs: 3 clean, 3 contended; others disturbed 3 of them (Other programs took 0.21 of the CPU time). That "
            "is its speed beside other programs; left alone it may be faster.",
        ),
        (
            sweep(100.0, 101.0, 99.0) + sweep(98.0, start=4, edits=[word("noisy", "Blocks scatter by 9 %: again.")]),
            "4 runs: 3 clean, 1 noisy (Blocks scatter by 9 %). It can be believed within its interval, which has these"
            " doubts in it.",
        ),
        (sweep(20.0, 90.0), "The runs of resnet50 at 64 differ too much to give a figure to believe."),
        ([failed("killed", "the run was killed")], "1 run: 0 clean, 1 failed (the run was killed). There is no figure"),
    ],
)  # fmt: skip
def test_whether_to_believe_it_follows_from_the_verdicts(records, words):
    assert words in said(*records)[1]


def test_the_bottleneck_is_said_in_plain_words():
    assert said(*sweep(*QUIET))[1].startswith("The bottleneck is the model itself. ")
    two = sweep(*QUIET) + sweep(200.0, 201.0, model="resnet18", edits=[INPUT])
    assert "The bottleneck is data loading (resnet18 at 64); the model itself (resnet50 at 64)." in said(*two)[1]
    assert "no part alone" in said(*sweep(*QUIET, edits=[put("checks.bottleneck", "balanced")]))[1]
    assert (
        "not known"
        in said(*sweep(*QUIET, edits=[put("checks.bottleneck", None), put("checks.unknown.bottleneck", "x")]))[1]
    )


def loading(images_per_s, workers):
    """Edits of a record: the loader alone makes so many images/s, with so many processes; the bottleneck is it."""
    return [INPUT, put("passes.input", timed(images_per_s)), put("checks.workers.used", workers)]


def test_how_many_cores_would_feed_the_model_that_starves_most():
    starved = sweep(*QUIET, edits=loading(50.0, 8), input="jpeg", device="cuda")  # its model takes 110.0, and 2 cores
    hungrier = sweep(200.0, 202.0, model="resnet18", edits=loading(20.0, 0), input="jpeg")
    assert " 2 cores load 50.0 images/s; the model takes 110: it would take 5 cores. " in said(*starved)[1]
    both = said(*starved, *hungrier)[1]
    assert " 1 core loads 20.0 images/s; the model takes 221: it would take 12 cores beside the model's. " in both
    assert both.count("core") == 2
    assert "cores load" not in said(*sweep(*QUIET))[1] + said(*sweep(*QUIET, edits=[INPUT]))[1]


WRONG = word("wrong", "Its outputs are not the CPU's: this figure counts nowhere; report the case.")
BATTERY, LOW = put("checks.before.power_source", "battery"), put("checks.before.power_mode", "low power")
FAULTS = [put("checks.system_share", 0.48), put("checks.page_faults_per_image", 39000.0)]
BF16 = sweep(*(2 * rate for rate in QUIET), precision="bf16", day=1)
SEARCHED = [*sweep(40.0, edits=[SEARCH], day=2, start=6), *sweep(*QUIET, day=2)]
RULES = [  # each holds against all that come after it, so their order is tested, too
    (sweep(*QUIET) + sweep(900.0, start=6, edits=[WRONG, BATTERY]), "Do not use what is wrong"),
    ([*sweep(*QUIET, edits=[BATTERY]), failed("worker", "a worker was killed", batch_size=8)],
     "resnet50 at batch 8 failed (a worker was killed): WORKERS=0."),
    ([failed("unsupported", "refused: tf32 is of NVIDIA: choose fp32", precision="tf32")],
     "failed (refused: tf32 is of NVIDIA: choose fp32)."),
    ([failed("out_of_memory", batch_size=512)], "at batch 512 failed (no room): a smaller BATCH_SIZE."),
    (sweep(*QUIET, edits=[BATTERY, LOW, BUSY]), "It ran on battery: plug it in"),
    (sweep(*QUIET, edits=[LOW, BUSY]), "Leave the low-power mode"),
    (sweep(*QUIET, edits=[BUSY, *FAULTS]), "Close other programs, or wait"),
    (sweep(*QUIET, edits=[INPUT, *FAULTS]), "48 % of the CPU time goes to page faults: ALLOCATOR=tuned keeps the"),
    (sweep(*QUIET, edits=[INPUT], workers=1) + sweep(*(2 * rate for rate in QUIET), batch_size=8, workers=1),
     "Data loading is the bottleneck: INPUT=fast WORKERS=auto"),
    (sweep(*QUIET, edits=[INPUT], input="jpeg", device="cuda"), "it takes more cores, or INPUT=jpeg-device-resize."),
    (sweep(*QUIET, edits=[INPUT], input="jpeg"), "with as many workers as help: it takes more cores."),
    (sweep(*QUIET, edits=[INPUT], day=2) + sweep(*(2 * rate for rate in QUIET), batch_size=8),
     "Data loading is the bottleneck, with as many workers as help"),
    (sweep(*QUIET, day=2) + sweep(*(2 * rate for rate in QUIET), batch_size=8) + BF16,
     "Use batch size 8: it is on record here with 200.0 images/s ("),
    (sweep(100.0, day=2) + BF16, "A faster setting is known here: bf16, contiguous, eager, batch 64, 200.0 images/s."
     " `make best IMAGE_MODEL=resnet50`"),
    (sweep(100.0), "REPEATS=5 tells"),
    (sweep(30.0, 90.0), "REPEATS=5 tells"),
    (sweep(*QUIET, model="resnet18"), "`make best IMAGE_MODEL=resnet18` looks for a faster setting"),
    (SEARCHED, "`make report` compares"),
    (sweep(*QUIET, mode="train"), "`make report` compares"),
    ([], "`make image` measures this machine."),
]  # fmt: skip


@pytest.mark.parametrize(("records", "step"), RULES, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_the_next_step_is_the_first_that_holds(records, step):
    assert step in said(*records)[2]


def test_memory_that_ends_beyond_a_size_that_runs_asks_for_nothing():
    assert "`make best" in said(*sweep(*QUIET), failed("out_of_memory", batch_size=512))[2]
    assert "`make best" in said(*sweep(*QUIET), failed("skipped", batch_size=1024))[2]


def test_the_remedy_for_page_faults_is_the_measured_one_where_it_is_on_record_here():
    tuned = sweep(*(2.3 * rate for rate in QUIET), allocator="tuned")
    told = said(*sweep(*QUIET, edits=FAULTS, day=2), *tuned)[2]
    assert told.startswith("48 % of the CPU time goes to page faults: ALLOCATOR=tuned is on record here with 230.0 im")
    for other in (sweep(*QUIET, allocator="tuned", batch_size=8), sweep(*QUIET, allocator="tuned", slug="other")):
        assert "ALLOCATOR=tuned keeps the memory: try it" in said(*sweep(*QUIET, edits=FAULTS, day=2), *other)[2]
    for useless in (sweep(*QUIET, allocator="tuned"), sweep(*(rate / 2 for rate in QUIET), allocator="tuned")):
        assert "ALLOCATOR" not in said(*sweep(*QUIET, edits=FAULTS, day=2), *useless)[2]
    best = sweep(*(3 * rate for rate in QUIET), allocator="tuned", batch_size=8, day=2)  # of the same sweep
    assert "ALLOCATOR" not in said(*sweep(*QUIET, edits=FAULTS, day=2), *best)[2]


@pytest.mark.parametrize(
    ("edits", "case"),
    [(FAULTS, {"allocator": "tuned"}), (FAULTS, {"device": "cuda"}), ([put("checks.system_share", 0.09)], {}),
     ([*FAULTS, put("machine.os", "macOS 26.1")], {})],
)  # fmt: skip
def test_page_faults_are_no_step_where_they_are_few_or_no_allocator_would_help(edits, case):
    assert "page faults" not in said(*sweep(*QUIET, edits=edits, **case))[2]


def test_a_faster_setting_on_another_machine_counts_if_it_is_of_the_same_chip():
    theirs = sweep(*(2 * rate for rate in QUIET), precision="bf16", slug="theirs")
    assert f"is known on {TITLE} (theirs), of the same chip: bf16" in said(*sweep(*QUIET), *theirs)[2]
    far = sweep(*(2 * rate for rate in QUIET), precision="bf16", slug="theirs", edits=[put("machine.chip", "M9")])
    assert "looks for a faster setting" in said(*sweep(*QUIET), *far)[2]
    assert (
        "looks for a faster setting" in said(*sweep(*QUIET), *sweep(101.0, 102.0, precision="bf16", slug="theirs"))[2]
    )


def fleet(**rates):
    """Machines of chips of their own, each with three runs about this rate."""
    return [
        record
        for slug, rate in rates.items()
        for record in sweep(rate, 1.01 * rate, 0.99 * rate, slug=slug, edits=[put("machine.chip", f"Chip of {slug}")])
    ]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({}, "No other machine on record has resnet50, batch 64: `make share` publishes yours."),
        ({"a": 300.0, "b": 200.0, "c": 50.0}, "it is between b (200.0 images/s) and c (50.00 images/s)."),
        ({"a": 30.0, "b": 20.0, "c": 50.0}, "it is faster than all 3 on record, the nearest is c (50.00 images/s)."),
        ({"a": 300.0, "b": 2000.0}, "it is slower than all 2 on record, the nearest is a (300.0 images/s)."),
        ({"a": 300.0}, "it is slower than a (300.0 images/s)."),
        ({"a": 101.0, "b": 20.0}, "it is between a (101.0 images/s, too close to tell) and b (20.00 images/s)."),
        ({"a": 101.0}, "it is beside a (101.0 images/s, too close to tell)."),
    ],
)
def test_its_place_is_among_those_that_measured_the_same_case(others, words):
    far = sweep(1.0, 1.1, slug="unlike", input="original") + sweep(1.0, slug="searched", edits=[SEARCH])
    assert words in said(*sweep(*QUIET), *fleet(**others), *far)[3]


def test_without_one_of_its_torch_those_of_another_are_named_and_not_ranked():
    theirs = sweep(300.0, 303.0, slug="a", edits=[put("software.torch", "2.9.1")])
    place = said(*sweep(*QUIET), *theirs)[3]
    assert re.search(
        r"has resnet50, batch 64 by torch 2\.\d+ \(beside it, not to be ranked: .*301\.\d images/s.* by torch 2\.9\)",
        place,
    )
    assert "faster" not in place and "slower" not in place


def test_the_place_is_by_the_case_that_most_share_and_of_each_machine_its_fastest_device():
    small = sweep(500.0, 505.0, model="mobilenet_v3_small")
    theirs = sweep(700.0, 705.0, model="mobilenet_v3_small", slug="a")
    card = sweep(7000.0, 7050.0, model="mobilenet_v3_small", slug="a", device="cuda")
    place = said(*sweep(*QUIET), *small, *theirs, *card)[3]
    assert place.startswith(f"At mobilenet_v3_small, batch 64, it is slower than {TITLE} (a) (7\u202f025")


def test_one_run_is_called_neither_faster_nor_slower():
    place = said(*sweep(100.0), *fleet(a=101.0, b=99.0))[3]
    assert "between a (101.0 images/s, one run can't tell which is faster) and b (99.00 images/s, one run" in place
    assert (
        "it is beside a (300.0 images/s, one run can't tell which is faster)."
        in said(*sweep(100.0), *fleet(a=300.0))[3]
    )
    many = said(*sweep(100.0), *fleet(a=300.0, b=200.0))[3]
    assert "it is beside the nearest, b (200.0 images/s, one run can't tell which is faster)." in many


def test_a_setting_of_another_chip_by_the_same_name_or_of_other_images_is_no_advice():
    """A cloud's AMD EPYC has instructions for bf16 today, and none tomorrow."""

    def step(mine, quick, **case):
        known = sweep(*(5 * rate for rate in QUIET), slug="b", precision="bf16", edits=[quick], **case)
        return said(*sweep(*QUIET, edits=[mine]), *known)[2]

    avx2, avx512 = (put("software.device_arch", arch) for arch in ("AVX2", "AVX512"))
    assert "A faster setting is known on" in step(avx2, avx2) and "of the same chip: bf16" in step(avx2, avx2)
    assert all("faster setting is known" not in step(avx2, other) for other in (avx512, lambda data: None))
    for unlike in ({"input": "jpeg"}, {"image_px": 64}):
        assert "faster setting is known" not in step(avx2, avx2, **unlike)


def test_whether_it_is_healthy_is_told_by_others_of_its_chip():
    alike = [
        r for slug, rate in zip("abcd", (100.0, 101.0, 99.0, 100.5), strict=True) for r in sweep(rate, rate, slug=slug)
    ]
    well, ill = said(*sweep(*QUIET), *alike)[3], said(*sweep(60.0, 61.0, 60.5), *alike)[3]
    low, high = stats.prediction([100.0, 101.0, 99.0, 100.5])
    assert f"within where one more of its 4 others would lie ({low:.2f} to {high:.1f})" in well
    assert "Beside the same chip (AMD EPYC, 2 cores): 60.50 images/s, below where" in ill and "look at its heat" in ill
    assert "It takes four others to say" in said(*sweep(*QUIET), *alike[:2])[3]
    alone = said(*sweep(*QUIET), *fleet(a=50.0))[3]
    assert "(AMD EPYC, 2 cores): 100.0 images/s; no other of this chip ran this case: nothing shows" in alone


def test_machines_are_called_by_what_they_are():
    figures, _, _, place = said(*sweep(*QUIET), *fleet(a=50.0))
    assert figures.startswith(f"{TITLE}, ") and "a (50.00 images/s)" in place


def test_of_nothing_there_is_something_to_say():
    assert said() == [
        f"{MINE}, no run is on record.", "0 runs: 0 clean. There is no figure to believe.",
        "`make image` measures this machine.", "Without a figure it has no place among others.",
    ]  # fmt: skip
