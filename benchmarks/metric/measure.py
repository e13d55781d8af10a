"""Measures by name, computed from the ranks of the relevant items.

Names are those of ir-measures, or common names of the field for measures that it lacks:

========== ============================================================================================
R@k        relevant items in the first k, over all relevant items: true recall
Success@k  1 where any relevant item is in the first k: the hit rate, which papers call Recall@K
P@k        relevant items in the first k, over k
RR, RR@k   1 / rank of the first relevant item (MRR)
AP, AP@k   precision at each relevant item of the first k, summed, over all relevant items (MAP)
APh@k      the same over the relevant items found in the first k, 0 if none: mAP@K of image-to-video search
nDCG@k     gain = grade, discount = log2(1 + rank); nDCG(dcg='exp-log2')@k has gain 2^grade - 1
Soft@k     best grade in the first k, in tenths: 10 counts 1. CIRR with soft targets
MedR       median, over queries, of the rank of the first relevant item; an even count takes the mean of two
MeanR      mean of it
========== ============================================================================================

Every one counts 0 for a query that found nothing or was not answered; MedR and MeanR then count the last rank there
is, the number of items that compete. All other spellings of ir-measures are computed by ir-measures.

Formulas hold for settled and for open ties: an item is at one of the places above + 1 ... above + tied, each as
likely, and the figure is the expectation. Settled ties are the case tied = 1.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric.place import Standing
from quiver.errors import BadSpec
from quiver.types import Rows

Doubles = NDArray[np.float64]

ALIASES = {"MRR": "RR", "MAP": "AP", "NDCG": "nDCG"}
#: Marks a measure without a cutoff.
END = 1 << 40


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure.

    Attributes:
        name: canonical spelling, such as ``"Success@10"``.
        kind: the part before the ``@``.
        cutoff: k, or None for the whole list.
    """

    name: str
    kind: str
    cutoff: int | None

    @property
    def ours(self) -> bool:
        """Whether it is computed here, not by ir-measures."""
        return self.kind in FORMULAS

    @property
    def median(self) -> bool:
        """Whether queries are aggregated by their median, not their mean."""
        return self.kind == "MedR"

    @property
    def rising(self) -> bool:
        """Whether larger is better."""
        return self.kind not in RANKS

    def compute(self, standing: Standing) -> Doubles:
        """Return (q,) float64 one figure per query.

        Raises:
            BadSpec: it has no closed form under open ties, or is not ours.
        """
        if not self.ours:
            raise BadSpec(f"{self.name} is computed by ir-measures")
        return FORMULAS[self.kind](standing, self.cutoff or END)


def parse(name: str) -> Measure:
    """Read a measure.

    >>> parse("MRR@10").name
    'RR@10'

    Raises:
        BadSpec: it cannot be read, lacks its cutoff or has one too many, or is ambiguous.
    """
    spelt = re.fullmatch(r"(\w+)(\([^()]*\))?(?:@(\d+))?", name.replace(" ", ""))
    if spelt is None or spelt[3] == "0":
        raise BadSpec(f"cannot read measure {name!r}: write it as R@10, Success@1, RR, AP@10, nDCG@10, MedR")
    if spelt[1] == "Recall":
        k = spelt[3] or "k"
        raise BadSpec(f"{name!r}: say R@{k} for the share of relevant items found, Success@{k} for the hit rate")
    kind = ALIASES.get(spelt[1], spelt[1]) + (spelt[2] or "").replace('"', "'")
    cutoff = int(spelt[3]) if spelt[3] else None
    measure = Measure(kind + (f"@{cutoff}" if cutoff else ""), kind, cutoff)
    if kind in CUT and cutoff is None:
        raise BadSpec(f"{name!r} needs a cutoff, as in {kind}@10")
    if kind in RANKS and cutoff is not None:
        raise BadSpec(f"{name!r}: {kind} takes no cutoff")
    return measure


def _share(st: Standing, k: int) -> Doubles:
    """Return (n,) the probability that an item is among the first k."""
    inside = np.clip(k - st.above, 0, st.tied)
    return np.divide(inside, st.tied, out=np.zeros(len(inside)), where=st.tied > 0)


def _sum(st: Standing, weights: Doubles) -> Doubles:
    return np.bincount(st.owner, weights, minlength=len(st.competing)).astype(np.float64)


def _over(counts: Doubles | Rows, total: Doubles | Rows) -> Doubles:
    return np.divide(counts, total, out=np.zeros(len(counts)), where=np.asarray(total) > 0)


def _relevant(st: Standing) -> Rows:
    return np.bincount(st.owner, minlength=len(st.competing))


def recall(st: Standing, k: int) -> Doubles:
    """R@k."""
    return _over(_sum(st, _share(st, k)), _relevant(st))


def precision(st: Standing, k: int) -> Doubles:
    """P@k."""
    return _sum(st, _share(st, k)) / k


def success(st: Standing, k: int) -> Doubles:
    """Success@k: of p relevant items among g tied, all are past the first m with chance C(g - p, m) / C(g, m)."""
    return _first(st, lambda s, g, p: 1.0 - _none(g, p, min(max(k - s, 0), g))[-1])


def reciprocal(st: Standing, k: int) -> Doubles:
    """RR@k: the first relevant item of the tie is at its place x with chance P(none before x) p / (g - x + 1)."""

    def case(s: int, g: int, p: int) -> float:
        x = np.arange(1, min(max(k - s, 0), g - p + 1) + 1)
        return float((_none(g, p, len(x))[: len(x)] * p / (g - x + 1) / (s + x)).sum())

    return _first(st, case)


def first_rank(st: Standing, k: int) -> Doubles:
    """Rank of the first relevant item; the number of competing items if none is found."""
    del k
    rank = _first(st, lambda s, g, p: s + (g + 1) / (p + 1))
    return np.where(rank > 0, rank, st.competing)


def _none(g: int, p: int, m: int) -> Doubles:
    """Return (m + 1,) chances that none of p relevant items is among the first 0 ... m of g in random order."""
    j = np.arange(m)
    return np.concatenate([[1.0], np.cumprod(np.maximum(g - p - j, 0) / (g - j))])


def _first(st: Standing, case: Callable[[int, int, int], float]) -> Doubles:
    """Apply a function of (items above, items tied, relevant among them) to the first relevant tie of each query."""
    there = np.flatnonzero(st.tied)
    before, alike = _crowd(st, there)
    best = there[before == 0]
    cases = np.zeros((3, len(st.competing)), np.int64)
    cases[:, st.owner[best]] = np.stack([st.above[best], st.tied[best], alike[before == 0]])
    unique, inverse = np.unique(cases, axis=1, return_inverse=True)
    figures = [case(int(s), int(g), int(p)) if g else 0.0 for s, g, p in unique.T]
    return np.array(figures, np.float64)[inverse.ravel()]


def _crowd(st: Standing, there: Rows) -> tuple[Rows, Rows]:
    """Count, for each found item, the relevant items of its query in better ties, and those in its own."""
    owner, above = st.owner[there], st.above[there]
    sorted_ = np.lexsort((above, owner))
    fresh = np.ones(len(there), np.bool_)
    fresh[1:] = (np.diff(owner[sorted_]) != 0) | (np.diff(above[sorted_]) != 0)
    tie = np.cumsum(fresh) - 1
    starts = np.append(np.flatnonzero(fresh), len(there))
    query = np.searchsorted(owner[sorted_], owner[sorted_])
    before, alike = np.empty((2, len(there)), np.int64)
    before[sorted_], alike[sorted_] = starts[tie] - query, np.diff(starts)[tie]
    return before, alike


def average_precision(st: Standing, k: int) -> Doubles:
    """AP@k: a relevant item at place i of its tie has 1 + before + (i - above - 1) (p - 1) / (g - 1) up to there."""
    there = np.flatnonzero(st.tied)
    before, alike = _crowd(st, there)
    above, tied = st.above[there], st.tied[there]
    inside = np.clip(k - above, 0, tied)
    harmonic = _spread(lambda i: 1.0 / i, above, inside)
    slope = _over(alike - 1, tied - 1)
    precision = np.zeros(len(st.owner))
    precision[there] = ((before + 1 - slope * (above + 1)) * harmonic + slope * inside) / tied
    return _over(_sum(st, precision), _relevant(st))


def hit_precision(st: Standing, k: int) -> Doubles:
    """APh@k: mean precision at the relevant items found in the first k.

    Under open ties the divisor is random too: there is a closed form only where all of a query's found items tie.
    Given h > 0 of them in the first m places of the tie, precision at a random one at place i is
    (1 + (h - 1) (i - 1) / (m - 1)) / (above + i) on average, which is linear in h.
    """
    there = np.flatnonzero(st.tied)
    if (st.tied[there] > 1).any():
        return _hit_precision_of_one_tie(st, there, k)
    before, _ = _crowd(st, there)
    hit = st.above[there] < k
    precision, hits = np.zeros((2, len(st.owner)))
    precision[there] = hit * (before + 1) / (st.above[there] + 1)
    hits[there] = hit
    return _over(_sum(st, precision), _sum(st, hits))


def _hit_precision_of_one_tie(st: Standing, there: Rows, k: int) -> Doubles:
    if _crowd(st, there)[0].any():
        raise BadSpec(f"APh@{k} has no closed form under tie rule average: use pessimistic or optimistic")

    def case(s: int, g: int, p: int) -> float:
        m = min(max(k - s, 0), g)
        i = np.arange(1, m + 1)
        some = 1.0 - _none(g, p, m)[-1]
        more = (i - 1) / max(m - 1, 1) * (m * p / g - some)
        return float(((some + more) / (s + i)).sum() / max(m, 1))

    return _first(st, case)


def _gain(st: Standing, gains: Doubles, k: int) -> Doubles:
    discounts = _spread(lambda i: 1.0 / np.log2(i + 1), st.above, np.clip(k - st.above, 0, st.tied))
    found = _sum(st, gains * np.divide(discounts, st.tied, out=np.zeros(len(gains)), where=st.tied > 0))
    sorted_ = np.lexsort((-gains, st.owner))
    place = np.arange(len(gains)) - np.searchsorted(st.owner, st.owner)
    ideal = np.where(place < k, gains[sorted_] / np.log2(place + 2), 0.0)
    return _over(found, _sum(st, ideal))


def _spread(function: Callable[[Doubles], Doubles], above: Rows, inside: Rows) -> Doubles:
    """Sum a function of the rank over the ranks above + 1 ... above + inside."""
    table = function(np.arange(1.0, int((above + inside).max(initial=0)) + 1))
    sums = np.append(0.0, np.cumsum(table))
    one = np.append(table, 0.0)[np.minimum(above, len(table))]
    # Differences of running sums are rounded; a settled place needs none.
    return np.where(inside == 1, one, sums[above + inside] - sums[above])


def gain(st: Standing, k: int) -> Doubles:
    """nDCG@k."""
    return _gain(st, st.grade.astype(np.float64), k)


def steep_gain(st: Standing, k: int) -> Doubles:
    """nDCG@k with gain 2^grade - 1."""
    return _gain(st, np.exp2(st.grade) - 1.0, k)


def soft(st: Standing, k: int) -> Doubles:
    """Soft@k: each level of grade adds its step where an item of at least that grade is in the first k."""
    total = np.zeros(len(st.competing))
    below = 0
    for level in np.unique(st.grade):
        inside = st.grade >= level
        part = Standing(st.owner[inside], st.grade[inside], st.above[inside], st.tied[inside], st.competing)
        total += (level - below) * success(part, k)
        below = level
    return total / 10


FORMULAS: dict[str, Callable[[Standing, int], Doubles]] = {
    "R": recall,
    "Success": success,
    "P": precision,
    "RR": reciprocal,
    "AP": average_precision,
    "APh": hit_precision,
    "nDCG": gain,
    "nDCG(dcg='exp-log2')": steep_gain,
    "Soft": soft,
    "MedR": first_rank,
    "MeanR": first_rank,
}
CUT = ("R", "Success", "P", "APh", "Soft")
RANKS = ("MedR", "MeanR")
