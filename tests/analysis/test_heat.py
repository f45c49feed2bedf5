"""What telemetry says of a run, against figures that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import heat
from siliconbench.pages import charts
from siliconbench.record.schema import Record
from tests.samples import sample, samples


def steady(t):
    return 50.0 if t >= 0 else 10.0


def run(telemetry=None, block_s=None, **case):
    """A run at 100 images/s from second 0 on, or with these blocks of 50 images."""
    data = sample(100.0, **case)
    if block_s is not None:
        seconds = float(np.sum(block_s))
        data["passes"]["end_to_end"] |= {
            "images": 50 * len(block_s), "seconds": seconds, "images_per_s": 50 * len(block_s) / seconds,
            "block_images": 50, "block_s": [float(b) for b in block_s],
        }  # fmt: skip
    if telemetry:
        data |= {"telemetry": telemetry, "unknown": {}}
    return Record.model_validate(data)


def test_watts_joules_and_heat_are_those_of_the_pass_alone():
    hot = samples(-1.0, 60.0, 70, system_w=steady, cpu_temperature_c=lambda t: 60.0 if t <= 60 else 90.0)
    found = heat.conditions(run(hot, [0.5] * 120))  # 60 seconds, 6,000 images
    assert found.mean_w == pytest.approx(50) and found.joules_of == "whole system"
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
    assert heat.conditions(run()) == heat.Conditions()
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
    data["machine"] |= {"model": "MacBookAir10,1", "unknown": {"driver": "none"}}
    data["passes"]["end_to_end"] |= {"images": 60000, "seconds": 600.0, "images_per_s": 100.0, "block_images": 60000}
    data["passes"]["end_to_end"]["block_s"] = [600.0]
    found = heat.sustained(Record.model_validate(data))
    assert not found.claimed and found.least_minutes == 30


def test_the_timeline_shows_every_quantity_there_is():
    hot = samples(0.0, 60.0, 70, system_w=steady, fan_rpm=lambda t: 1500.0)
    table = heat.series(run(hot, [0.5] * 120))
    assert list(dict.fromkeys(table["panel"])) == ["images/s", "fan, rpm", "power, W"]
    speed = table[table["panel"] == "images/s"]
    assert speed["value"].tolist() == pytest.approx([100.0] * 60)  # a point a second, whatever the blocks
    assert speed["time_s"].tolist() == pytest.approx([second + 0.5 for second in range(60)])
    fig = charts.timeline(table, heat.rest(run(hot, [0.5] * 120)))
    assert len(fig.axes) == 3
    charts.svg(fig)
    assert heat.series(run()).empty


def test_a_run_that_comes_back_varies_and_does_not_slow():
    blocks = []
    while sum(blocks) < 600:
        blocks.append(0.5 if sum(blocks) % 180 < 60 or sum(blocks) > 560 else 0.6)
    found = heat.sustained(run(None, blocks, minutes=10.0))
    assert found.kept_percent < 95 and found.slows_after_s is None
    assert "varies rather than slows" in heat.sustained_words(run(None, blocks, minutes=10.0))
