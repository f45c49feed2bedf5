"""What telemetry says of a run, against figures that can be worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import cases, heat, telemetry
from siliconbench.pages import charts
from siliconbench.record.schema import Record
from tests.samples import sample, samples, timed


def steady(t):
    return 50.0 if t >= 0 else 10.0


def run(telemetry=None, block_s=None, **case):
    """A run at 100 images/s from second 0 on, or with these blocks of 50 images."""
    data = sample(100.0, **case)
    if block_s is not None:
        seconds = float(np.sum(block_s))
        data["passes"]["end_to_end"] |= {
            "images": 50 * len(block_s), "seconds": seconds, "images_per_s": 50 * len(block_s) / seconds,
            "block_images": 50, "last_block_images": 50, "block_s": [float(b) for b in block_s],
        }  # fmt: skip
    if telemetry:
        data |= {"telemetry": telemetry, "unknown": {"energy": "RAPL may be read by root only"}}
    return Record.model_validate(data)


def test_watts_joules_and_heat_are_those_of_the_pass_alone():
    hot = samples(-1.0, 60.0, 70, system_w=steady, cpu_temperature_c=lambda t: 60.0 if t <= 60 else 90.0)
    found = heat.conditions(run(hot, [0.5] * 120))  # 60 seconds, 6,000 images
    assert found.mean_w == pytest.approx(50) and found.joules_of == "whole system, sampled"
    assert found.images_per_j == pytest.approx(6000 / 3000)
    assert (found.peak_c, found.heat_of) == (60.0, "CPU")
    assert found.fan_rpm is None


def test_a_mean_over_sensors_is_never_called_the_hottest():
    cool = samples(0.0, 60.0, 70, cpu_temperature_c=lambda t: 60.0)
    cool["channels"]["cpu_temperature_c"]["statistic"] = "mean"
    slowed = run(cool, [0.5] * 120)
    assert heat.conditions(slowed).heat_of == "CPU mean" and "60 °C (CPU mean)" in heat.sustained_words(slowed)


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=80))
def test_the_rates_of_the_seconds_hold_every_image_of_the_blocks(block_s):
    table = heat.rates(run(None, block_s).passes.end_to_end)
    width = sum(block_s) / len(table)
    assert (table["images_per_s"] * width).sum() == pytest.approx(50 * len(block_s))
    assert table["images_per_s"].between(50 / max(block_s) * 0.999, 50 / min(block_s) * 1.001).all()


def test_a_dip_that_passes_is_no_slowing_for_good():
    blocks = [0.5] * 480 + [0.6] * 200 + [0.5] * 480
    assert heat.sustained(run(None, blocks, minutes=10.0)).slows_after_s is None


def test_without_telemetry_all_is_unknown():
    assert heat.conditions(run()) == telemetry.Conditions()
    assert "not known" in heat.sustained_words(run())


def throttled(minutes=10, at=4, to=0.8):
    blocks = []
    while sum(blocks) < 60 * minutes:
        blocks.append(0.5 if sum(blocks) < 60 * at else 0.5 / to)
    return blocks


def test_a_run_that_throttles_at_minute_four_says_so():
    hot = samples(
        0.0, 600.0, 610, cpu_temperature_c=lambda t: 99.0, fan_rpm=lambda t: 6012.0, cpu_load=lambda t: 1.0,
        cpu_clock_mhz=lambda t: 3200.0 if t < 240 else 2500.0,
    )  # fmt: skip
    slowed = run(hot, throttled(), minutes=10.0)
    found = heat.sustained(slowed)
    assert found.kept_percent == pytest.approx(80)
    assert found.slows_after_s == pytest.approx(240, abs=2)
    assert found.witness and found.claimed
    words = heat.sustained_words(slowed)
    assert "keeps 80 %" in words and "99 °C (CPU)" in words and "6,012 rpm" in words and "heat:" in words


def test_a_run_that_slows_without_heat_names_no_cause():
    found = heat.sustained(run(None, throttled(), minutes=10.0))
    assert found.slows_after_s and not found.witness
    assert "cause is not known" in heat.sustained_words(run(None, throttled(), minutes=10.0))


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_steady_run_never_slows(noise):
    blocks = 0.5 * np.exp(np.random.default_rng(3).normal(0, noise, 1250))
    found = heat.sustained(run(None, blocks, minutes=10.0))
    assert found.slows_after_s is None and found.kept_percent == pytest.approx(100, abs=1)


def test_too_short_is_not_called_sustained_and_a_short_run_is_not_either():
    assert not heat.sustained(run(None, [0.5] * 240, minutes=2.0)).claimed
    assert "10 minutes are needed" in heat.sustained_words(run(None, [0.5] * 240, minutes=2.0))
    assert heat.sustained(run(None, [0.5] * 240)) is None


def test_without_a_fan_it_takes_half_an_hour_to_claim():
    data = sample(100.0, minutes=10.0)
    data["machine"] |= {"model": "MacBookAir10,1", "unknown": {"driver": "none", "rosetta": "none"}}
    data["passes"]["end_to_end"] |= {"images": 60000, "seconds": 600.0, "images_per_s": 100.0}
    data["passes"]["end_to_end"] |= {"block_images": 60000, "last_block_images": 60000, "block_s": [600.0]}
    found = heat.sustained(Record.model_validate(data))
    assert not found.claimed and found.least_minutes == 30


def test_the_timeline_shows_every_quantity_there_is():
    hot = samples(0.0, 60.0, 70, system_w=steady, fan_rpm=lambda t: 1500.0)
    table = heat.series(run(hot, [0.5] * 120))
    assert list(dict.fromkeys(table["panel"])) == ["images/s", "fan, rpm", "power, W"]
    speed = table[table["panel"] == "images/s"]
    assert speed["value"].tolist() == pytest.approx([100.0] * 60)  # a point a second, whatever the blocks
    assert speed["time_s"].tolist() == pytest.approx([second + 0.5 for second in range(60)])
    fig = charts.timeline(table, run(hot, [0.5] * 120).telemetry)
    assert len(fig.axes) == 3
    charts.svg(fig)
    assert heat.series(run()).empty


def test_rates_count_a_shorter_last_block_as_it_is():
    data = sample(100.0)
    short = {"images": 110, "seconds": 1.1, "images_per_s": 100.0, "block_images": 50, "last_block_images": 10}
    data["passes"]["end_to_end"] |= short | {"block_s": [0.5, 0.5, 0.1]}
    assert heat.rates(Record.model_validate(data).passes.end_to_end)["images_per_s"].tolist() == pytest.approx([100.0])


def blocks_at(rate, seconds=600.0):
    """Blocks of 50 images at a rate that is a function of the second."""
    blocks, now = [], 0.0
    while now < seconds:
        blocks.append(50 / rate(now))
        now += blocks[-1]
    return blocks


def noise(seed, rho, sd):
    """The logarithm of a rate by the second, of that standard deviation and correlation from one to the next."""
    step, y = np.random.default_rng(seed), [0.0]
    while len(y) < 1000:
        y.append(rho * y[-1] + math.sqrt(1 - rho * rho) * sd * step.normal())
    return lambda t: math.exp(y[int(t)])


def test_the_published_case_is_judged_by_its_last_fifth():
    """2,922 images/s in its first minute, 2,698 in its last fifth, half a minute of which was fast."""
    rough = noise(7, 0.3, 0.002)
    slow = run(None, blocks_at(lambda t: rough(t) * (2922 if t < 60 or 454 < t < 512 else 2617)), minutes=10.0)
    words = heat.sustained_words(slow)
    assert heat.sustained(slow).kept_percent == pytest.approx(100 * 2698 / 2922, abs=0.5)
    assert "keeps 92 %" in words and "not for good: it varies" in words and "as fast again" not in words


def test_a_run_that_comes_back_neither_slows_nor_varies():
    dip = run(None, blocks_at(lambda t: 80 if 240 < t < 400 else 100), minutes=10.0)
    found = heat.sustained(dip)
    assert (found.kept_percent, found.slows_after_s, found.flips) == (pytest.approx(100, abs=0.5), None, None)


def test_a_slower_last_fifth_that_was_fast_between_varies():
    ups = ((0, 60), (200, 300), (500, 560))  # and never the same speed when it is slow
    rate = lambda t: 100 if any(a <= t < b for a, b in ups) else 72 + 22 * abs(math.sin(t / 47))  # noqa: E731
    varied = run(None, blocks_at(rate), minutes=10.0)
    assert heat.sustained(varied).slows_after_s is None and heat.sustained(varied).kept_percent < 97
    assert "not for good: it varies" in heat.sustained_words(varied)


@pytest.mark.parametrize("stay", [6, 30, 110])
@pytest.mark.parametrize("apart", [0.035, 0.2])
def test_a_device_that_flips_between_two_speeds_is_named(stay, apart):
    rough = noise(stay, 0.5, 0.003)
    rate = lambda t: 2922 * rough(t) * (1 if int(t / stay) % 2 == 0 else 1 - apart)  # noqa: E731
    flipping = run(None, blocks_at(rate), minutes=10.0)
    found = heat.sustained(flipping).flips
    assert (found.slower, found.faster) == pytest.approx((2922 * (1 - apart), 2922), rel=0.004)
    assert found.slower_share == pytest.approx(0.5, abs=0.12)
    words = heat.sustained_words(flipping)
    assert "It flips between two speeds" in words and "begins to slow" not in words and "varies" not in words


def test_a_stall_now_and_then_does_not_hide_the_flips():
    rate = lambda t: (30 if int(t) % 97 == 50 else 100) * (1 if int(t / 30) % 2 else 0.9)  # noqa: E731
    assert heat.sustained(run(None, blocks_at(rate), minutes=10.0)).flips


STEADY = {
    "throttled": lambda t: 100 if t < 240 else 80, "a dip": lambda t: 80 if 200 < t < 350 else 100,
    "a ramp": lambda t: 100 - t / 30, "a wave": lambda t: 100 + 5 * math.sin(t / 20),
    "too near": lambda t: 100 if int(t / 30) % 2 else 98, "too short a stay": lambda t: 100 if int(t / 3) % 2 else 90,
    "too seldom": lambda t: 90 if t % 100 < 15 else 100, "steady": lambda t: 100.0,
}  # fmt: skip


@pytest.mark.parametrize("name", STEADY)
def test_what_does_not_flip_is_not_said_to(name):
    assert heat.sustained(run(None, blocks_at(STEADY[name]), minutes=10.0)).flips is None


@pytest.mark.parametrize(("rho", "sd"), [(0.0, 0.02), (0.5, 0.05), (0.9, 0.02), (0.98, 0.03)])
def test_noise_of_one_speed_is_no_flipping(rho, sd):
    def found(seed):
        rough = noise(seed, rho, sd)
        return heat.flips(pd.DataFrame({"images_per_s": [100 * rough(t) for t in range(600)]}))

    assert sum(found(seed) is not None for seed in range(200)) <= 2


def test_a_case_has_no_median_over_two_ways_of_measuring_energy():
    def one(ways):
        data, known = sample(100.0), {"counter": "NVML", "part": "GPU", "update_interval_s": 0.1, "unknown": {}}
        counter = known | ({"joules": ways} if ways else {"joules": None, "unknown": {"joules": "too slow"}})
        watts = samples(0.0, 60.0, 70, system_w=lambda t: 900.0)
        data["passes"]["end_to_end"] = timed(100.0, images=6000, blocks=120)
        return Record.model_validate(data | {"telemetry": watts, "energy": counter, "unknown": {}})

    (case,) = cases.cases(cases.runs([one(24_000.0), one(None), one(30_000.0), one(27_000.0)])).to_dict("records")
    assert (case["joules_of"], case["mean_w"]) == ("GPU, counted", 450.0)
    (case,) = cases.cases(cases.runs([one(None), one(None), one(27_000.0)])).to_dict("records")
    assert (case["joules_of"], case["mean_w"]) == ("whole system, sampled", 900.0)


def test_why_there_is_no_energy_is_said():
    record = run(samples(0.0, 60.0, 70, gpu_w=steady), [0.5] * 8)
    words = heat.missing_words([record])
    assert "power: too few samples" in words and "energy: RAPL may be read by root only" in words
