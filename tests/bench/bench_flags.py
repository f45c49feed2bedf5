"""`python -m tests.bench.bench_flags FOLDER`: what the words of a machine's runs are made of.

Of the records in FOLDER (a sweep's, quiet): how many of each case's first runs have which word, those laid at the
host's door apart. From their block noise runs are drawn anew, in stretches of five blocks, so that neighbours stay
alike: how often one is flagged though nothing happened, and how often one that is 5 % slower from its middle on.
`--beside SHARE` measures 20 runs beside a loop that takes this share of a core, and counts those that are flagged.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from siliconbench.analysis import series
from siliconbench.analysis.stats import logs
from siliconbench.analysis.verdict import SPREAD
from siliconbench.analysis.words import grouped
from siliconbench.record import store
from siliconbench.record.schema import Record

HOST, STRETCH, DRAWN = "by the host", 5, 2000


def first_runs(folder: Path, repeats: int) -> list[Record]:
    """The good records of a folder, of each case those that no disturbed run had repeated."""
    records = [r for _, r in store.read(folder) if isinstance(r, Record) and r.verdict and r.repeat <= repeats]
    return sorted(records, key=lambda r: r.created)


def word(record: Record) -> str:
    """The word of a run, or that it is the host's: flagged, while a fixed loop on one core ran unevenly by itself."""
    uneven = (series.unevenness(record.checks.core_s) or 0) > SPREAD
    return HOST if uneven and record.verdict.word != "clean" else record.verdict.word


def reasons(records: list[Record]) -> list[str]:
    """The reasons of their verdicts, those that differ in figures alone as one, and how often each was given."""
    found = grouped((why, "") for r in records for why in r.verdict.reasons)
    return [f"{len(of):4d}  {why}" for why, of in sorted(found, key=lambda group: -len(group[1]))]


def noise(record: Record) -> list[np.ndarray]:
    """The logs of the block seconds of the model alone and of the whole, less their mean."""
    timed = [p.equal_block_s for p in (record.passes.forward, record.passes.end_to_end)]
    return [(y := logs(x, "block")) - y.mean() for x in timed if np.size(x) >= 10]


def flagged(blocks: np.ndarray) -> bool:
    """Whether the blocks of a pass would flag its run: they scatter, stall or drift."""
    seconds, drift = np.exp(blocks), series.drift(np.exp(blocks))
    return bool(
        (series.spread(seconds) or 0) > 0.05 or (series.stalled(seconds) or 0) > 0.05 or (drift and drift.drifting)
    )


def drawn(records: list[Record], step: float, seed: int = 1) -> float:
    """The share of passes that are flagged, drawn from these runs' block noise; step: slower from the middle on."""
    rng, found = np.random.default_rng(seed), 0
    pool = [blocks for record in records for blocks in noise(record)]
    for _ in range(DRAWN):
        blocks = pool[rng.integers(len(pool))]
        starts = rng.integers(0, blocks.size - STRETCH + 1, blocks.size // STRETCH + 1)
        again = np.concatenate([blocks[at : at + STRETCH] for at in starts])[: blocks.size]
        found += flagged(again + np.where(np.arange(again.size) >= again.size // 2, np.log1p(step), 0.0))
    return found / DRAWN


def beside(share: float, runs: int = 20) -> None:
    """Prints how many of so many runs were flagged beside a loop that takes this share of a core."""
    body = f"import time\nwhile 1:\n e=time.perf_counter()+{0.1 * share}\n while time.perf_counter()<e: pass\n"
    loop = subprocess.Popen([sys.executable, "-c", body + f" time.sleep({0.1 * (1 - share)})"])
    try:
        with tempfile.TemporaryDirectory() as folder:
            knobs = {"IMAGE_MODEL": "mobilenet_v3_small", "BATCH_SIZE": "8", "REPEATS": str(runs // 2)}
            knobs |= {"MIN_SECONDS": "4", "NUM_IMAGES": "64", "RESULTS": folder, "USE_GPU": "0"}
            subprocess.run([sys.executable, "-m", "siliconbench", "image"], env=os.environ | knobs, check=False)
            found = [r for _, r in store.read(Path(folder)) if isinstance(r, Record)]
    finally:
        loop.kill()
    print(f"{share:g} of a core taken: {sum(r.verdict.word != 'clean' for r in found)} of {len(found)} runs flagged")
    print(*reasons(found), sep="\n")


def main() -> None:
    """Counts, draws, and measures beside a loop where that is asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path, nargs="?")
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--beside", type=float, default=0.0)
    given, start = ask.parse_args(), time.perf_counter()
    if given.beside:
        beside(given.beside)
    for at in [given.folder] if given.folder else []:
        records = first_runs(at, given.repeats)
        print(f"{len(records)} first runs: {dict(Counter(map(word, records)))}")
        print(*reasons(records), sep="\n")
        even = [r for r in records if word(r) == "clean"]
        for name, some in (("all", records), ("the clean ones", even)):
            shares = [drawn(some, step) for step in (0.0, 0.05)] if any(map(noise, some)) else []
            print(f"from the noise of {name} ({len(some)} runs): flagged without a step, and with one of 5 %: {shares}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
