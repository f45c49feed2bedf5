"""The sums of telemetry, by hand and by their own additivity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import telemetry
from siliconbench.record.schema import State, Telemetry, filled


def made(interval_s: float = 1.0, source: str = "NVML", **channels: object) -> Telemetry:
    """A section with these values a channel, a sample each second; NVML's unless a channel says otherwise."""
    length = max(len(values) for values in channels.values())
    section = {
        "interval_s": interval_s,
        "idle_until_s": 0.0,
        "cooling_from_s": 1e6,
        "time_s": [float(k * interval_s) for k in range(length)],
        "channels": {
            name: {
                "values": [v if v is None else float(v) for v in values],
                "source": source,
                "version": "1",
                "statistic": "reading",
            }
            for name, values in channels.items()
        },
    }
    return Telemetry.model_validate(section)


NOMINAL = {"thermal_pressure": "nominal"}


def at(given: dict) -> State:
    known = {name: value for name, value in given.items() if value is not None}
    return State.model_validate(filled(State, known, "this test has none"))


def test_only_what_is_known_in_the_window_counts():
    section = made(gpu_w=[1, None, 3, 8, 100], fan_rpm=[None] * 5)
    assert telemetry.values(section, "gpu_w", 0.5, 3) == [3, 8]
    assert telemetry.values(section, "gpu_w", 10, 20) == telemetry.values(section, "fan_rpm", 0, 5) == []
    assert telemetry.values(section, "system_w", 0, 5) == []


def test_energy_by_counter_and_by_power():
    section = made(gpu_w=[100.0] * 41, gpu_energy_j=[300.0 * k for k in range(41)])
    assert telemetry.joules(section, "gpu_energy_j", 0.5, 10.5) == pytest.approx(3000)
    assert telemetry.joules(section, "gpu_energy_j", 0.5, 1.5) == pytest.approx(100)  # too short for the counter
    assert telemetry.joules(section, "gpu_w", 0.5, 10.5) == pytest.approx(1000)
    assert telemetry.joules(section, "gpu_w", -5, 10) is None
    assert telemetry.joules(section, "package_energy_j", 0, 10) is None


def test_apples_cpu_counter_needs_half_a_minute():
    section = made(source="zeus", package_w=[10.0] * 60, package_energy_j=[20.0 * k for k in range(60)])
    assert telemetry.joules(section, "package_energy_j", 1, 21) == pytest.approx(200)
    assert telemetry.joules(section, "package_energy_j", 1, 41) == pytest.approx(800)


def test_a_hole_of_some_seconds_is_too_little_coverage():
    values = [100.0, None, None, 100.0] + [100.0] * 10
    assert telemetry.joules(made(gpu_w=values), "gpu_w", 0, 10) == pytest.approx(1000)
    values[1:5] = [None] * 4
    assert telemetry.joules(made(gpu_w=values), "gpu_w", 0, 10) is None
    assert telemetry.joules(made(gpu_w=values), "gpu_w", 6, 10) == pytest.approx(400)


@given(st.lists(st.floats(0, 1000), min_size=3, max_size=30), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_energy_adds_up(values, a, b, c):
    start, middle, end = sorted(x * (len(values) - 1) for x in (a, b, c))
    section = made(gpu_w=values)
    parts = [telemetry.joules(section, "gpu_w", *ends) for ends in ((start, middle), (middle, end), (start, end))]
    if end - middle > 1e-6 and middle - start > 1e-6:
        assert parts[0] + parts[1] == pytest.approx(parts[2], abs=1e-6)
        assert min(values) * (end - start) - 1e-6 <= parts[2] <= max(values) * (end - start) + 1e-6


def test_energy_names_its_joules():
    ramp = [300.0 * k for k in range(21)]
    gpu = {"gpu_w": [300.0] * 20 + [310.0], "gpu_energy_j": ramp, "gpu_utilization": [0.9] * 21}
    found = telemetry.energy(made(**gpu, package_w=[50.0] * 21), 2, 20, 5400)
    assert (found.joules_of, found.battery_percent_per_1000_images) == ("GPU", None)
    assert (found.images_per_j, found.mean_w) == pytest.approx((1, 300))
    assert telemetry.energy(made(**gpu, system_w=[400.0] * 21), 2, 20, 5400).joules_of == "whole system"
    idle = gpu | {"gpu_utilization": [0.0] * 21}
    assert telemetry.energy(made(**idle, package_w=[50.0] * 21), 2, 20, 5400).mean_w == pytest.approx(50)
    assert telemetry.energy(made(**idle), 2, 20, 5400) == telemetry.Energy()


def test_energy_on_a_mac_is_that_of_the_package_with_its_gpu():
    section = made(source="macmon", package_w=[40.0] * 21, gpu_w=[30.0] * 21, gpu_utilization=[0.9] * 21)
    found = telemetry.energy(section, 0, 20, 800)
    assert found.joules_of == "package"
    assert (found.images_per_j, found.mean_w) == pytest.approx((1, 40))


def test_energy_on_battery():
    falling = made(battery_percent=[80.0 - k / 4 for k in range(21)])
    assert telemetry.energy(falling, 0, 20, 2500).battery_percent_per_1000_images == 2
    for still in ([80.0] * 21, [80.0] * 20 + [79.0]):
        assert telemetry.energy(made(battery_percent=still), 0, 20, 2500) == telemetry.Energy()


def test_nothing_is_known_of_an_empty_section():
    section = made(fan_rpm=[])
    assert telemetry.energy(section, 0, 10, 100) == telemetry.Energy()
    assert telemetry.heat_witness(section, 0, 10, at(NOMINAL), at(NOMINAL)) is None


FALLEN = [1980.0] * 10 + [1700.0] * 10


@pytest.mark.parametrize(("channels", "before", "after", "expected"), [
    ({"throttle_bits": [0, 0x4, 0x24, 0x40]}, {}, {}, "in 2 of 4 samples"),
    ({"throttle_bits": [0, 0x4, 0x8, 0x1]}, NOMINAL, NOMINAL, None),
    ({"fan_rpm": [1]}, NOMINAL, {"thermal_pressure": "heavy"}, "the thermal pressure was heavy after the run"),
    ({"fan_rpm": [1]}, {"thermal_pressure": None}, {"thermal_pressure": None}, None),
    ({"thermal_pressure": [0, 1, 1]}, {}, {}, None),
    ({"thermal_pressure": [0, 1, 2]}, {}, {}, "serious"),
    ({"gpu_clock_mhz": FALLEN, "gpu_utilization": [0.9] * 20, "gpu_temperature_c": [85.0] * 20}, {}, {},
     "the GPU clock fell from 1980 to 1700 MHz at up to 85 C"),
    ({"gpu_clock_mhz": FALLEN, "gpu_utilization": [0.9] * 20, "gpu_temperature_c": [60.0] * 20}, {}, {}, None),
    ({"gpu_clock_mhz": FALLEN, "gpu_utilization": [0.9] * 10 + [0.1] * 10, "gpu_temperature_c": [85.0] * 20}, {}, {},
     None),
    ({"gpu_clock_mhz": FALLEN[8:12], "gpu_utilization": [0.9] * 4, "gpu_temperature_c": [85.0] * 4}, {}, {}, None),
    ({"cpu_clock_mhz": FALLEN, "cpu_load": [0.9] * 20, "cpu_temperature_c": [95.0] * 20}, {}, {}, "the CPU clock"),
    ({"cpu_clock_mhz": FALLEN[::-1], "cpu_load": [0.9] * 20, "cpu_temperature_c": [95.0] * 20}, {}, {}, None),
])  # fmt: skip
def test_heat_witness(channels, before, after, expected):
    found = telemetry.heat_witness(made(**channels), 0, 100, at(before), at(after))
    assert (expected in found) if expected else found is None
