"""Trials of index settings, from cheap to expensive until recall stops growing."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

Spend = Mapping[str, int]

#: Trials end at this recall, or if two steps gain less than this.
ENOUGH, GAIN = 0.999, 0.002


@dataclass(frozen=True, slots=True)
class Trial:
    """A tried setting with its recall and milliseconds per query."""

    spend: Spend
    recall: float
    ms: float


def rungs(most: int, *, least: int = 1) -> list[int]:
    """Return whole numbers from the least up to the most, each about half as large again as the one before.

    >>> rungs(20)
    [1, 2, 3, 4, 6, 9, 14, 20]
    """
    found = []
    while least < most:
        found.append(least)
        least = max(least + 1, round(1.5 * least))
    return [*found, most]


def climb(ladders: Sequence[Sequence[Spend]], tried: Callable[[Spend], tuple[float, float]]) -> Iterator[Trial]:
    """Try every ladder of settings until recall is complete or stops growing.

    Args:
        ladders: lists of settings, cheap to expensive.
        tried: returns recall and milliseconds of a setting.
    """
    for ladder in ladders:
        before: list[float] = []
        for spend in ladder:
            recall, ms = tried(spend)
            yield Trial(spend, recall, ms)
            if recall >= ENOUGH or (len(before) > 1 and recall - before[-2] < GAIN):
                break
            before.append(recall)


def calm(spends: Sequence[Spend], times: Sequence[float]) -> list[float]:
    """Take from times what others on the machine added: nothing takes longer than what does all its work and more.

    >>> calm([{"n": 1}, {"n": 2}, {"n": 4}], [3.0, 2.0, 5.0])
    [2.0, 2.0, 5.0]
    """
    return [min(ms for more, ms in zip(spends, times, strict=True) if _covers(more, spend)) for spend in spends]


def _covers(more: Spend, less: Spend) -> bool:
    return more.keys() == less.keys() and all(more[name] >= value for name, value in less.items())


def work(spend: Spend) -> int:
    """Return the total work of a setting, to order equal times.

    >>> work({"nprobe": 8, "refine": 4})
    32
    """
    return math.prod(spend.values())


def frontier(trials: Sequence[Trial], *, most: int) -> list[Trial]:
    """Return the trials that no cheaper one equals, cheapest first, thinned to about so many.

    >>> made = [Trial({"n": n}, r, ms) for n, r, ms in [(1, 0.5, 1.0), (2, 0.4, 2.0), (3, 0.9, 3.0), (4, 1.0, 4.0)]]
    >>> [trial.spend["n"] for trial in frontier(made, most=9)]
    [1, 3, 4]
    """
    times = calm([trial.spend for trial in trials], [trial.ms for trial in trials])
    trials = [replace(trial, ms=ms) for trial, ms in zip(trials, times, strict=True)]
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.ms, work(trial.spend), -trial.recall)):
        if not best or trial.recall > best[-1].recall:
            best.append(trial)
    while (
        len(best) > most
    ):  # the last stays; of the others that one goes which the next betters least, by what is missed
        missed = [1.001 - trial.recall for trial in best]
        del best[max(range(len(best) - 1), key=lambda n: missed[n + 1] / missed[n])]
    return best
