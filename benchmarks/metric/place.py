"""Ranks of the relevant items, under a rule for tied scores.

Four tie rules. With s the items that score strictly more than a relevant item and g those that score the same,
itself included, its rank is one of s + 1 ... s + g:

* ``pessimistic``: less relevant items come first. No order of the ties is worse. (Reported by default.)
* ``optimistic``: more relevant items come first. No order of the ties is better.
* ``average``: the expected figure over all orders of the ties, in closed form (McSherry & Najork 2008, "Computing
  Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores").
* ``stable``: as listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric.judgement import Judgements
from quiver.benchmarks.metric.ranking import Ranking, Reals, blocks
from quiver.errors import BadData, BadSpec
from quiver.types import Rows

Tie = Literal["pessimistic", "optimistic", "average", "stable"]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places of n relevant items of q queries, in the order of ``Judgements.relevant``.

    Attributes:
        listed: (n,) int64 place in the list, from 1; 0 if not listed.
        above: (n,) int64 number of items with a strictly higher score.
        tied: (n,) int64 number of items with the same score, including itself; 0 if not listed.
        length: (q,) int64 number of listed items.
        full: (q,) bool the list is cut: every place is taken, and more items compete.
        open: (q,) bool the list is cut in the middle of equal scores, as far as can be seen.
    """

    listed: Rows
    above: Rows
    tied: Rows
    length: Rows
    full: Flags
    open: Flags


def find(ranking: Ranking, judgements: Judgements) -> Places:
    """Look up every relevant item.

    Raises:
        BadData: as many queries were not judged; or a query has a NaN score, scores that rise, or an item twice.
    """
    if len(ranking) != len(judgements):
        raise BadData(f"a ranking of {len(ranking)} queries for judgements of {len(judgements)}: give a row to each")
    relevant, owner = judgements.relevant, judgements.relevant.owner
    items = np.zeros((3, len(owner)), np.int64)
    length, last = np.zeros((2, len(ranking)), np.int64)
    for start, stop in blocks(ranking):
        inside = slice(*relevant.starts[[start, stop]])
        rows, scores = _checked(ranking.rows[start:stop], ranking.scores[start:stop], judgements.ids[start:stop])
        flat = _look_up(rows, relevant.rows[inside], owner[inside] - start, judgements.ids[start:stop])
        bounds = _bounds(scores)
        items[:, inside] = _stand(flat, bounds, ranking.depth)
        length[start:stop] = (rows >= 0).sum(axis=1)
        ends = np.arange(1, stop - start + 1) * ranking.depth - 1
        last[start:stop] = _stand(ends, bounds, ranking.depth)[2]
    full = (length == ranking.depth) & (length < judgements.competing)
    return Places(items[0], items[1], items[2], length, full, full & (last > 1))


def _checked(rows: Rows, scores: Reals, ids: Sequence[str]) -> tuple[Rows, Reals]:
    """Return one block with row -1 and score -inf wherever nothing is listed."""
    if len(wrong := np.flatnonzero(np.isnan(scores).any(axis=1))):
        raise BadData(f"query {ids[wrong[0]]} has a NaN score")
    scores = np.where(rows < 0, -np.inf, scores)
    if len(wrong := np.flatnonzero((scores[:, 1:] > scores[:, :-1]).any(axis=1))):
        raise BadData(f"query {ids[wrong[0]]} has scores that rise along its list: a ranking is best first, gaps last")
    return np.where(scores == -np.inf, -1, rows), scores


def _look_up(rows: Rows, wanted: Rows, owner: Rows, ids: Sequence[str]) -> Rows:
    """Return the position of each wanted item in the flattened block, -1 if absent."""
    bits = int(rows.shape[1]).bit_length()
    stride = max(int(rows.max(initial=0)), int(wanted.max(initial=0))) + 2
    # Row and place in one number: a plain sort, which is much faster than an argsort, then finds both.
    keys = np.where(rows < 0, stride - 1, rows) + np.arange(len(rows))[:, None] * stride
    packed = np.sort((keys << bits) | np.arange(rows.shape[1]), axis=1).ravel()
    listed = packed >> bits
    if len(twice := np.flatnonzero((listed[1:] == listed[:-1]) & (listed[1:] % stride != stride - 1))):
        query, row = divmod(int(listed[twice[0]]), stride)
        raise BadData(f"query {ids[query]} lists item number {row} twice")
    at = np.searchsorted(listed, owner * stride + wanted)
    at = np.minimum(at, len(listed) - 1)
    place = packed[at] & ((1 << bits) - 1)
    return np.where(listed[at] == owner * stride + wanted, owner * rows.shape[1] + place, -1)


def _bounds(scores: Reals) -> Rows:
    """Return start and end of a group of equal scores in the flattened block."""
    fresh = np.ones(scores.shape, np.bool_)
    fresh[:, 1:] = scores[:, 1:] != scores[:, :-1]
    return np.append(np.flatnonzero(fresh), scores.size)


def _stand(flat: Rows, bounds: Rows, depth: int) -> Rows:
    """Return (3, n): place from 1, items above, items tied; zeros where flat is -1."""
    group = np.searchsorted(bounds, flat, side="right") - 1
    above = bounds[group] % depth
    return np.where(flat < 0, 0, np.stack([flat % depth + 1, above, bounds[group + 1] - bounds[group]]))


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Input of measures: places with the ties settled, or, for expected figures, left open.

    Attributes:
        owner: (n,) int64 the query of each relevant item.
        grade: (n,) int64.
        above: (n,) int64 items that come before it for certain.
        tied: (n,) int64 number of next places that it can have, equally likely; 1 if settled, 0 if not found.
        competing: (q,) int64 number of competing items of each query.
    """

    owner: Rows
    grade: Rows
    above: Rows
    tied: Rows
    competing: Rows


def settle(places: Places, judgements: Judgements, tie: Tie) -> Standing:
    """Apply a tie rule.

    Where a list is cut in the middle of equal scores, items that nobody listed may come before a relevant one of
    that score: it counts as not found under ``pessimistic``.

    Raises:
        BadSpec: there is no such rule.
    """
    if tie not in get_args(Tie):
        raise BadSpec(f"the tie rule must be one of {', '.join(get_args(Tie))}, not {tie!r}")
    owner = judgements.relevant.owner
    if tie == "average":
        return Standing(owner, judgements.grades, places.above, places.tied, judgements.competing)
    ranks = _ranks(places, owner, judgements.grades, tie)
    return Standing(owner, judgements.grades, np.maximum(ranks - 1, 0), np.sign(ranks), judgements.competing)


def _ranks(places: Places, owner: Rows, grades: Rows, tie: Tie) -> Rows:
    if tie == "stable":
        return places.listed
    better = _better(owner, np.where(places.tied > 0, places.above, -1), grades)
    if tie == "optimistic":
        return np.where(places.tied > 0, places.above + 1 + better, 0)
    lost = places.open[owner] & (places.above + places.tied == places.length[owner])
    return np.where((places.tied > 0) & ~lost, places.above + places.tied - better, 0)


def _better(owner: Rows, above: Rows, grades: Rows) -> Rows:
    """Count, for each relevant item, those of the same tie with a better grade (or the same, and named before)."""
    sorted_ = np.lexsort((-grades, above, owner))
    fresh = np.ones(len(owner), np.bool_)
    fresh[1:] = (np.diff(owner[sorted_]) != 0) | (np.diff(above[sorted_]) != 0)
    numbers = np.arange(len(owner))
    better = np.empty(len(owner), np.int64)
    better[sorted_] = numbers - np.maximum.accumulate(np.where(fresh, numbers, 0))
    return better


def ranks(ranking: Ranking, judgements: Judgements, *, tie: Tie = "pessimistic") -> Rows:
    """Return (n,) int64 ranks from 1 of all relevant items, in the order of ``judgements.relevant``; 0: not found.

    Raises:
        BadData: see ``find``.
        BadSpec: ``average`` settles no rank, or there is no such rule.
    """
    if tie == "average":
        raise BadSpec("tie rule average settles no ranks: use pessimistic, optimistic or stable")
    standing = settle(find(ranking, judgements), judgements, tie)
    return (standing.above + 1) * standing.tied


def arrange(ranking: Ranking, places: Places, judgements: Judgements, tie: Tie) -> Ranking:
    """Order tied items by a tie rule, so that programs with other tie rules compute the same figures.

    Raises:
        BadSpec: ``average`` is no order.
    """
    if tie == "average":
        raise BadSpec("tie rule average is no order: use pessimistic, optimistic or stable")
    if tie == "stable":
        return Ranking.listed(np.where(ranking.scores == -np.inf, -1, ranking.rows))
    owner, there = judgements.relevant.owner, places.tied > 0
    rows = ranking.rows.copy()
    grades = np.zeros(rows.shape, np.int64)
    grades[owner[there], places.listed[there] - 1] = judgements.grades[there]
    sign = -1 if tie == "optimistic" else 1
    scores = np.where(rows < 0, -np.inf, ranking.scores)
    if tie == "pessimistic":
        lost = places.open[:, None] & (scores == scores[:, -1:]) & (grades > 0)
        rows[lost] = -1
    sorted_ = np.lexsort((sign * grades, -scores), axis=1)
    rows = np.take_along_axis(np.where(scores == -np.inf, -1, rows), sorted_, axis=1)
    return Ranking.listed(rows)


def tied(places: Places, judgements: Judgements) -> Flags:
    """Return the queries on which ties matter: a relevant item has the same score as one of another grade.

    Returns:
        (q,) bool. If none is true, the tie rules agree.
    """
    owner = judgements.relevant.owner
    keys = np.stack([owner, places.above, judgements.grades])[:, places.tied > 0]
    _, inverse, alike = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    mixed = places.tied[places.tied > 0] > alike[inverse.ravel()]
    return np.bincount(keys[0][mixed], minlength=len(judgements)) > 0


def cut(places: Places, judgements: Judgements) -> Flags:
    """Return the queries for which a deeper list could change figures: it ends within a tie that matters.

    Returns:
        (q,) bool: the list is open at its end, and a relevant item is in that tie or is not listed.
    """
    owner = judgements.relevant.owner
    last = (places.tied == 0) | (places.above + places.tied == places.length[owner])
    return places.open & (np.bincount(owner[last], minlength=len(judgements)) > 0)
