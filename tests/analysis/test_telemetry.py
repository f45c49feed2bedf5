"""What telemetry says, by hand; and what no energy may say, whatever the samples are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconbench.analysis import telemetry
from siliconbench.record.host import State
from siliconbench.record.schema import Energy, Telemetry, filled


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


def counted(joules: float | None = None, part: str = "GPU", why: str = "over 2 % of the pass") -> Energy:
    known = {"counter": "NVML", "part": part, "update_interval_s": 0.1}
    return Energy.model_validate(known | ({"joules": joules} if joules else filled(Energy, known, why)))


def of(section, counter=None, start_s=2.0, end_s=20.0, images=5400):
    return telemetry.energy(counter, section, start_s, end_s, images)


BUSY = {"gpu_utilization": [0.9] * 21}
GPU = {"gpu_w": [300.0] * 20 + [310.0], **BUSY}


def test_the_counter_comes_first_and_is_named():
    found = of(made(**GPU, system_w=[400.0] * 21), counted(5400.0))
    assert (found.joules_of, found.images_per_j, found.mean_w) == ("GPU, counted", 1.0, 300.0)
    assert of(made(fan_rpm=[1.0]), counted(900.0, "package")).mean_w == pytest.approx(50)


def test_a_mean_above_the_highest_power_of_the_run_is_no_figure():
    found = of(made(**GPU), counted(18 * 350.0))
    assert found.mean_w is found.images_per_j is found.joules_of is None
    assert "350 W by the counter, 310 W at most" in found.no_energy
    assert of(made(**GPU), counted(18 * 312.0)).mean_w == pytest.approx(312)  # sensors are right to 5 %


watts = st.lists(st.floats(0, 1000) | st.none(), min_size=3, max_size=40)


@given(watts, st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.5, 1.0, 2.0]))
def test_no_mean_is_above_the_peak(values, a, b, interval_s):
    start_s, end_s = sorted(x * interval_s * (len(values) - 1) for x in (a, b))
    section = made(interval_s, system_w=values)
    found = telemetry.energy(None, section, start_s, max(end_s, start_s + 1e-3), 100)
    inside = telemetry.values(section, "system_w", start_s, end_s)
    if found.mean_w is not None:
        assert len(inside) >= 8 and min(inside) - 1e-9 <= found.mean_w <= max(inside) + 1e-9
        assert found.images_per_j == pytest.approx(100 / (found.mean_w * (end_s - start_s)))


@given(st.floats(1, 1e5), watts)
def test_no_counted_mean_is_above_the_peak(joules, values):
    found = of(made(gpu_w=values), counted(joules), 1.0, 3.0)
    known = [v for v in values if v is not None]
    assert found.mean_w is None or not known or found.mean_w <= 1.05 * max(known)


def test_samples_of_power_count_where_there_are_eight_within_the_pass():
    assert of(made(system_w=[9.0] * 3 + [50.0] * 17 + [9.0]), None, 2.5, 19.5, 850) == telemetry.Conditions(
        1.0, "whole system, sampled", 50.0
    )
    short = of(made(system_w=[50.0] * 21), None, 2.0, 9.9)  # seven whole seconds
    assert short.mean_w is None and short.no_energy == "too few samples"
    assert of(made(system_w=[50.0, None] * 10)).mean_w is None


def test_the_passes_of_the_issue_had_no_figure():
    """A pass of 2.1 s and one of 1.0 s of the same case, idle before and after: 531 and 431 W were said of them."""
    for long_s in (2.1, 1.0):
        section = made(gpu_w=[120.0] * 10 + [690.0] * 3 + [120.0] * 10, gpu_utilization=[0.9] * 23)
        found = of(section, counted(None), 10.4, 10.4 + long_s)
        assert found.mean_w is None and found.no_energy == "over 2 % of the pass"


def test_a_part_whose_counter_has_no_figure_is_not_sampled_instead():
    assert of(made(**GPU), counted(None)).no_energy == "over 2 % of the pass"
    assert of(made(**GPU, system_w=[400.0] * 21), counted(None)).joules_of == "whole system, sampled"
    assert of(made(**GPU)).joules_of == "GPU, sampled"


def test_sampled_power_is_that_of_the_widest_part_that_did_the_work():
    assert of(made(**GPU, package_w=[50.0] * 21)).joules_of == "GPU, sampled"
    assert of(made(**GPU, package_w=[50.0] * 21, system_w=[400.0] * 21)).joules_of == "whole system, sampled"
    idle = GPU | {"gpu_utilization": [0.0] * 21}
    assert of(made(**idle, package_w=[50.0] * 21)).mean_w == pytest.approx(50)
    assert of(made(**idle)).mean_w is None
    mac = of(made(source="macmon", package_w=[40.0] * 21, **GPU))
    assert mac.joules_of == "package, sampled"


def test_energy_on_battery():
    falling = made(battery_percent=[80.0 - k / 4 for k in range(21)])
    assert of(falling, None, 0, 20, 2500).battery_percent_per_1000_images == 2
    for still in ([80.0] * 21, [80.0] * 20 + [79.0]):
        assert of(made(battery_percent=still), None, 0, 20, 2500).battery_percent_per_1000_images is None


def test_nothing_is_known_of_an_empty_section():
    section = made(fan_rpm=[])
    assert telemetry.energy(None, section, 0, 10, 100) == telemetry.Conditions(no_energy="too few samples")
    assert telemetry.heat_witness(section, [(0, 10)], at(NOMINAL), at(NOMINAL)) is None


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
    found = telemetry.heat_witness(made(**channels), [(0, 100)], at(before), at(after))
    assert (expected in found) if expected else found is None


def a_mac(clock, watts, heat, utilization=0.98):
    seconds = len(clock)
    return made(source="macmon", gpu_clock_mhz=clock, gpu_w=watts, gpu_temperature_c=heat,
                gpu_utilization=[utilization] * seconds)  # fmt: skip


def test_a_macs_clock_that_falls_with_its_watts_is_heat_below_the_usual_limit():
    """From 1,620 to 1,050 MHz at 71 to 73 C with the pressure nominal, as an M5 Max was seen to do."""
    hot, clock = [71.0, 72.0] * 5 + [73.0] * 10, [1620.0] * 10 + [1050.0] * 10
    spans = [(0.0, 100.0)]
    found = telemetry.heat_witness(a_mac(clock, [60.0] * 10 + [30.0] * 10, hot), spans, at(NOMINAL), at(NOMINAL))
    assert found == "the GPU clock fell from 1620 to 1050 MHz at up to 73 C"
    for watts, heat in (([60.0] * 20, hot), ([60.0] * 10 + [30.0] * 10, [55.0] * 20)):
        assert telemetry.heat_witness(a_mac(clock, watts, heat), spans, at(NOMINAL), at(NOMINAL)) is None


def test_a_clock_that_falls_where_the_gpu_waits_for_data_is_no_heat():
    """1,296 MHz in the model alone, 900 while the loader starves it, 1,296 again: not one of them is throttled."""
    clock = [1296.0] * 6 + [900.0] * 10 + [1296.0] * 2
    section = a_mac(clock, [20.0] * 6 + [9.0] * 10 + [20.0] * 2, [82.0] * 18)
    assert telemetry.heat_witness(section, [(0.0, 5.5), (15.5, 17.5)], at(NOMINAL), at(NOMINAL)) is None
    later = a_mac([1296.0] * 6 + [900.0] * 12, [20.0] * 6 + [9.0] * 12, [82.0] * 18)
    found = telemetry.heat_witness(later, [(0.0, 5.5), (15.5, 17.5)], at(NOMINAL), at(NOMINAL))
    assert found == "the GPU clock fell from 1296 to 900 MHz at up to 82 C"
