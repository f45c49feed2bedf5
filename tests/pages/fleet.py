"""Made-up records as a few friends could send them: sessions, disturbed, wrong and failed runs, one run alone."""

import random
from pathlib import Path
from typing import Any

from siliconbench.record import store
from siliconbench.record.schema import Record
from tests.samples import lost, sample, samples

TAKEN = "Other programs took 0.21 of the CPU time: close other programs and run again."
OUTPUTS = "Its outputs are not the CPU's: this figure is not ranked; report the case."


def swinging(rate: float, low: float, high: float, batch_size: int, rng: random.Random) -> dict[str, Any]:
    """An end-to-end pass of 60 blocks whose rates lie between low and high, at this rate over all."""
    speeds = [rng.uniform(low, high) for _ in range(60)]
    seconds = [batch_size * 20 / speed for speed in speeds]
    seconds = [s * batch_size * 20 * 60 / rate / sum(seconds) for s in seconds]
    images = batch_size * 20 * 60
    return {
        "images": images, "seconds": sum(seconds), "images_per_s": images / sum(seconds), "block_s": seconds,
        "block_images": batch_size * 20, "last_block_images": batch_size * 20,
    }  # fmt: skip


def leave(folder: Path, slug: str, rates: list[float], day: int = 1, **more: Any) -> None:
    """Records of one session of a machine, a run for each rate. Of more, the record's parts are put into it as they
    are; `chip`, `torch`, `swing` (low, high) and `start` (the number of the first repeat) change it; the rest is its
    case."""
    start, chip, torch = more.pop("start", 1), more.pop("chip", f"Chip of {slug}"), more.pop("torch", "2.15.0")
    swing, rng = more.pop("swing", None), random.Random(f"{slug} {day}")
    parts = {name: more.pop(name) for name in ("verdict", "telemetry", "energy") if name in more}
    for i, rate in enumerate(rates, start):
        data = sample(rate, **({"model": "resnet50", "batch_size": 8} | more)) | parts
        data["unknown"] = {name: why for name, why in data["unknown"].items() if name not in parts}
        data["machine"] = data["machine"] | {"slug": slug, "chip": chip}
        data["software"] = data["software"] | {"torch": torch}
        data["sweep"] = {"id": f"202611{day:02d}T140000Z-0123456789", "runs": len(rates), "order": i}
        data |= {"repeat": i, "created": f"202611{day:02d}T14{i:02d}00Z"}
        if swing:
            data["passes"]["end_to_end"] |= swinging(rate, *swing, data["case"]["batch_size"], rng)
        store.write(Record.model_validate(data), folder)


def lose(folder: Path, slug: str, day: int = 1, chip: str | None = None, **case: Any) -> None:
    """A record of a run of this machine that ran out of memory."""
    data = lost(**({"model": "resnet50"} | case))
    data["machine"] = data["machine"] | {"slug": slug, "chip": chip or f"Chip of {slug}"}
    data |= {"created": f"202611{day:02d}T150000Z"}
    store.write(Record.model_validate(data), folder)


def word(word: str, reason: str, disturbed: bool = False) -> dict[str, Any]:
    """A verdict with one reason."""
    return {"word": word, "reasons": [reason], "disturbed": disturbed}


def fill(folder: Path) -> None:
    """Eight machines: two alike of four sessions, a card on a busy host, one of one run, an older torch, four of a chip
    with one of these two."""
    rng = random.Random(3)
    hot = samples(-1.0, 60.0, 70, cpu_temperature_c=lambda t: 60.0 + t / 3, fan_rpm=lambda t: 1500.0 + t)
    for slug, chip in (("mac-studio", "M1 Max"), ("macbook-pro", "M1 Max"), ("lab-mac", "M1 Max"),
                       ("other-mac", "M1 Max"), ("slow-mac", "M1 Max")):  # fmt: skip
        speed, days = 0.8 if slug == "slow-mac" else 1.0, 4 if slug in ("mac-studio", "macbook-pro") else 1
        for day in range(1, days + 1):
            shift = speed * rng.gauss(1, 0.004)
            for size, rate in ((1, 40.0), (8, 100.0), (64, 102.0)):
                runs = [rate * shift * rng.gauss(1, 0.004) for _ in range(5)]
                leave(folder, slug, runs, day, chip=chip, batch_size=size)
    leave(folder, "mac-studio", [99.0], 6, chip="M1 Max", minutes=10.0, telemetry=hot, batch_size=64)
    card: dict[str, Any] = {"chip": "H100 host"}
    for day in (1, 9):
        leave(folder, "card", [210.0, 190.0, 230.0, 160.0, 250.0], day, **card, batch_size=1, swing=(133.0, 330.0))
        leave(folder, "card", [900.0, 905.0, 896.0], day, **card)
        busy = word("contended", TAKEN, disturbed=True)
        leave(folder, "card", [700.0, 640.0], day, **card, start=4, verdict=busy)
        leave(folder, "card", [2500.0, 2510.0, 2490.0], day, **card, batch_size=64)
    leave(folder, "card", [5000.0], 2, **card, batch_size=64, verdict=word("wrong", OUTPUTS))
    leave(folder, "card", [7000.0, 7100.0], 3, **card, batch_size=64, precision="bf16")
    lose(folder, "card", chip="H100 host", batch_size=256)
    leave(folder, "lone", [55.0])
    leave(folder, "older", [80.0, 81.0], torch="2.11.0")
