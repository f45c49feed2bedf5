"""Which setting of a model is the fastest, by looks at what could be. It knows no device: `look` measures.

Choices interact: channels last may pay with 16 bits alone, 16 bits on a GPU with CUDA graphs alone, and the allocator
changes which batch size is best. So every combination without the compiler is looked at; the fastest with each choice
is taken to other batch sizes, what may still win to the best of these; and then compiled, unless it is too slow."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from siliconbench.record.schema import Case
from siliconbench.sweep.plan import WORTH

COMPILED = 3.0  # times as fast as without the compiler is the most that is hoped for
LAUNCHED = 8.0  # of a request to an accelerator, which eager keeps waiting for launches: fp16 on an H100 gained 15
BESIDE = 1.5  # times as fast, beside the fastest, with another batch size or the compiler
NEAR, CONTENDERS = 1.1, 3  # what is so many times slower, by one look, may be as fast: so many are looked at again
BATCH_S, LARGEST = 4.0, 65536  # a batch that takes longer, or has more images, is not tried
FEW, START_S = 8, 2.0  # so many images tell about how long a batch takes; what takes longer is begun with smaller ones

Options = Mapping[str, tuple[Any, ...]]  # the values of each choice, the plain one first
Look = Callable[[Case, float], float]  # images/s, 0 where it fails; above the second its outputs count
TimeFor = Callable[[Case], bool]


class Search:
    """The settings that were looked at, in order, the plain one first, and their rates; 0: failed, or wrong outputs."""

    def __init__(self, plain: Case, options: Options, sized: bool, look: Look, time_for: TimeFor) -> None:
        self.plain, self.options, self.sized, self.look, self.time_for = plain, options, sized, look, time_for
        self.known, self.start, self.cut = dict[Case, float](), plain, False  # cut: not all could be looked at

    @property
    def best(self) -> Case:
        """The fastest so far."""
        return max(self.known, key=self.known.__getitem__)

    @property
    def rate(self) -> float:
        """That one's images/s."""
        return max(self.known.values(), default=0.0)

    @property
    def eager(self) -> Case:
        """The fastest so far without the compiler, at the smallest batch size that is within 2 % of it."""
        return self.small(max((c for c in self.known if not c.compile), key=self.known.__getitem__))

    def small(self, case: Case) -> Case:
        """Of this setting's batch sizes that are at most 2 % slower, the smallest."""
        near = (c for c in self.known if (1 + WORTH) * self.known[c] >= self.known[case])
        return min((c for c in near if not {*differ(c, case)} - {"batch_size"}), key=lambda c: c.batch_size)

    def see(self, case: Case) -> float:
        """The images/s of a setting: a look, if it is new and there is time."""
        if case not in self.known:
            if self.known and not self.time_for(case):
                self.cut = True
            else:
                self.known[case] = self.look(case, self.rate / NEAR)
        return self.known.get(case, 0.0)

    def begin(self) -> None:
        """The first looks: where the plain batch takes long, smaller ones are compared, then taken to larger ones."""
        size = self.plain.batch_size
        rate = self.see(self.plain.asked(batch_size=min(FEW, size))) if self.sized else 0.0
        while rate and 1 < size > START_S * rate:
            size //= 2
        self.start = self.plain.asked(batch_size=size)
        while size == self.plain.batch_size and not self.see(self.start) and size > 1 and self.sized:
            size //= 2
            self.plain = self.start = self.plain.asked(batch_size=size)

    def alone(self, case: Case) -> float:
        """What its choices bring one by one, multiplied: a look at each, if there is time."""
        plain, by_one = self.see(self.start), ({axis: getattr(case, axis)} for axis in differ(self.start, case))
        return math.prod(self.see(self.start.asked(**one)) / plain for one in by_one) if plain else 0.0

    def combined(self) -> list[Case]:
        """Each combination without the compiler, at the first batch size; what pays by single choices first."""
        axes = {**self.options, "compile": (False,)}
        every = (self.start.asked(**dict(zip(axes, some, strict=True))) for some in itertools.product(*axes.values()))
        return sorted(every, key=self.alone, reverse=True)

    def climb(self, start: Case) -> None:
        """To larger and smaller batches, until two steps in a row (one if compiled) bring under 2 %, or one is lost."""
        for step in (2.0, 0.5) if self.sized and self.see(start) else ():
            case, rates = start, [self.see(start)]
            while 1 <= case.batch_size * step <= LARGEST and case.batch_size * step <= BATCH_S * rates[-1]:
                case = case.asked(batch_size=int(case.batch_size * step))
                rates.append(self.see(case))
                before = rates[-2:-1] if start.compile else rates[-3:-2]
                if not rates[-1] or (before and rates[-1] < (1 + WORTH) * before[0]):
                    break

    def resize(self) -> None:
        """The best batch size of the fastest without the compiler, with all that came near it at the plain one."""
        size, start = None, self.start.batch_size
        near = [c for c in self.known if c.batch_size == start and self.known[c] * BESIDE >= self.known[self.eager]]
        while self.sized and size != self.eager.batch_size:
            self.climb(self.eager)
            size = self.eager.batch_size
            for case in near:
                self.see(case.asked(batch_size=size))

    def others(self) -> None:
        """The batch sizes of the fastest with each choice, where that comes near the fastest without the compiler."""
        by_rate = sorted((c for c in self.known if not c.compile), key=lambda c: -self.known[c])
        tops = {next(c for c in by_rate if getattr(c, a) == getattr(x, a)) for x in by_rate for a in self.options}
        for case in sorted(tops, key=lambda c: -self.known[c]):
            if self.known[case] * BESIDE >= self.known[by_rate[0]]:
                self.climb(case)

    def compile(self) -> None:
        """Compiled, at the best batch size, what could win and what is near the fastest; other modes, other sizes."""
        modes = [mode for mode in self.options["compile"] if mode][:: 1 if self.sized else -1]
        most = COMPILED if self.sized or self.best.device == "cpu" else LAUNCHED
        size, known = self.eager.batch_size, self.known
        twins = sorted((c for c in known if c.batch_size == size and not c.compile), key=lambda c: -known[c])
        for twin in twins if modes else ():
            if self.known[twin] * most >= self.rate:
                self.see(twin.asked(compile=modes[0]))
        top = self.best.asked(compile=False)
        near = [c for c in twins if len(differ(c, top)) == 1 and known[c] * BESIDE >= known.get(top, self.rate)]
        for twin in near if self.best.compile else ():
            self.see(twin.asked(compile=modes[0]))
        for mode in modes[1:]:
            self.see(self.best.asked(compile=mode))
        if self.best.compile:
            self.climb(self.best)

    def run(self) -> None:
        """Looks at all that could win while there is time, last at what promises little: single choices cost much."""
        self.begin()
        for least in (1 / COMPILED, 0.0) if self.rate else ():
            for case in self.combined():
                self.see(case) if self.alone(case) >= least else None
            before = None
            while before != self.eager:
                before = self.eager
                self.resize()
                self.compile()
                self.others()

    def fastest(self) -> Case:
        """The fastest setting, of those within 2 % of it the one with the fewest changes, the smallest batch: the two
        fastest, that of each allocator, and the simplest near them, are looked at again; one that fails is out."""
        plain, known = self.plain, self.known
        every = sorted((c for c in known if known[c] > self.rate / NEAR), key=lambda c: -known[c])
        simple = min(every, key=lambda c: (len(differ(plain, c)), bool(c.compile), -known[c]), default=plain)
        each = {c.allocator: c for c in reversed(every)}.values()
        near = list(dict.fromkeys([*every[:1], *map(self.small, [*every[: CONTENDERS - 1], *each]), simple]))
        logs = {case: [math.log(known[case])] for case in near}
        for case in near if len(near) > 1 else ():
            rate = self.look(case, 0.0)
            logs[case].append(math.log(rate) if rate else -math.inf)
        mean = {case: sum(mine) / len(mine) for case, mine in logs.items()}
        tied = [case for case in near if mean[case] > max(mean.values()) - WORTH]
        return min(tied, key=lambda c: (len(differ(plain, c)), bool(c.compile), c.batch_size), default=plain)

    def rungs(self, best: Case) -> list[Case]:
        """The settings from the plain one to this, one choice after the other, each time the one that brings most."""
        near = {c.asked(batch_size=self.plain.batch_size): self.known[c] for c in self.known}
        found = [self.plain]
        while left := differ(found[-1], best):
            by = [found[-1].asked(**{axis: getattr(best, axis)}) for axis in left]
            found.append(max(by, key=lambda c: self.known.get(c, near.get(c, 0.0))))
        return found


def differ(a: Case, b: Case) -> list[str]:
    """The choices in which two settings differ; the batch size, then the compiler last."""
    names = [axis for axis in Case.model_fields if getattr(a, axis) != getattr(b, axis)]
    return sorted(names, key=["batch_size", "compile"].__contains__)
