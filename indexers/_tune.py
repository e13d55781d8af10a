"""Settings of an index, tried from cheap to dear until more spending finds nothing more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Spend = Mapping[str, int]

#: Recall at which trying dearer settings ends, and the gain of two steps below which it ends too.
ENOUGH, GAIN = 0.999, 0.002


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried: the recall it gave and the milliseconds it took per query."""

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
    """Go up every ladder of settings until it finds everything, or nothing more.

    Args:
        ladders: settings, cheap to dear.
        tried: gives the recall and the milliseconds of a setting.
    """
    for ladder in ladders:
        before: list[float] = []
        for spend in ladder:
            recall, ms = tried(spend)
            yield Trial(spend, recall, ms)
            if recall >= ENOUGH or (len(before) > 1 and recall - before[-2] < GAIN):
                break
            before.append(recall)


def frontier(trials: Sequence[Trial], *, most: int) -> list[Trial]:
    """Return the trials that no cheaper one equals, cheapest first, thinned to about so many.

    >>> made = [Trial({"n": n}, r, ms) for n, r, ms in [(1, 0.5, 1.0), (2, 0.4, 2.0), (3, 0.9, 3.0), (4, 1.0, 4.0)]]
    >>> [trial.spend["n"] for trial in frontier(made, most=9)]
    [1, 3, 4]
    """
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.ms, -trial.recall)):
        if not best or trial.recall > best[-1].recall:
            best.append(trial)
    while (
        len(best) > most
    ):  # the last stays; of the others that one goes which the next betters least, by what is missed
        missed = [1.001 - trial.recall for trial in best]
        del best[max(range(len(best) - 1), key=lambda n: missed[n + 1] / missed[n])]
    return best
