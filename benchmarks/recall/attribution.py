"""Attribution of lost recall: each loss has one cause, the first stage of the search that lacks the answer.

* ``missing``: the item could not be ingested, or the question could not be read.
* ``encoder``: exact search already misses it.
* ``index``: exact search finds it, the approximate index does not.
* ``depth``: the index finds it, but below the number of candidates that were recalled.
* ``reranker``: it was recalled, but the reranker ranks it below k. ``moved_out`` counts the losses that were in the
  first k before reranking; ``moved_in`` counts the answers that reranking moved into the first k.

A scorer that recalls its own candidates is not a reranker: its exact scan is the exact search. Losses of its probes
and of the index are attributed to the index; further losses by a smaller depth than the planner's, to the depth.

A loss is a question without a right answer in its first k (Success@k), or a right answer that is not there (R@k).
Counts add up exactly to the number of losses, and points add up to 1 minus the measure.

Shapes: q questions, n right answers of all questions together, u units that can be lost (q or n).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric import Judgements, Ranking, parse, ranks
from quiver.errors import BadData, BadSpec
from quiver.types import Rows

Flags = NDArray[np.bool_]

CAUSES = ("missing", "encoder", "index", "depth", "reranker")
#: The result lists in the order of the search: each is drawn from the one before.
STAGES = ("oracle", "index", "recalled", "final")


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a loss.

    Attributes:
        question: its id.
        answer: the place of a right answer in the task's items: the one that exact search ranks highest.
        ranks: of that answer in each list, from 1; 0 where it is not listed.
    """

    question: str
    answer: int
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Losses of a measure by cause.

    Attributes:
        measure: ``Success@k`` or ``R@k``.
        total: number of units to find: questions, or right answers.
        found: number of units in the first k of the final list.
        counts: losses by cause; they and ``found`` add up to ``total``.
        points: by cause, the loss in points of the measure.
        gained: number of units found in the end that exact search misses.
        moved_out: losses to the reranker that were in the first k before reranking.
        examples: example losses, by cause.
        moved_in: units found in the end that were recalled below the first k before reranking.
    """

    measure: str
    total: int
    found: int
    counts: Mapping[str, int]
    points: Mapping[str, float]
    gained: int
    moved_out: int
    examples: Mapping[str, tuple[Example, ...]]
    moved_in: int = 0

    @property
    def lost(self) -> int:
        """Number of losses."""
        return self.total - self.found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        examples = {
            cause: [{"question": e.question, "answer": e.answer, "ranks": dict(e.ranks)} for e in some]
            for cause, some in self.examples.items()
        }
        return {
            "measure": self.measure,
            "total": self.total,
            "found": self.found,
            "lost": self.lost,
            "counts": dict(self.counts),
            "points": dict(self.points),
            "gained": self.gained,
            "moved_out": self.moved_out,
            "moved_in": self.moved_in,
            "examples": examples,
        }


def attribute(
    lists: Mapping[str, Ranking],
    judgements: Judgements,
    *,
    measure: str,
    reach: int | None = None,
    there: Flags | None = None,
    examples: int = 5,
) -> Attribution:
    """Split the loss of a measure by cause.

    Args:
        lists: one ranking for each of STAGES; without a reranker, ``final`` is ``recalled``.
        judgements: what is relevant.
        measure: ``Success@k`` or ``R@k``.
        reach: depth to which the lists of exact search and index are examined. Without a reranker, nothing below k can
            move up, so the default is k; with one, give the greatest depth that it could be given.
        there: (n,) bool: the right answers that can be found at all: item ingested and question read.
        examples: number of example losses of each cause.

    Raises:
        BadSpec: the measure is neither of the two, or the lists are not those of STAGES.
        BadData: a question has no right answer.
    """
    spelt = parse(measure)
    if spelt.kind not in ("Success", "R") or spelt.cutoff is None:
        raise BadSpec(f"only losses of Success@k and R@k can be attributed, not those of {measure}")
    if tuple(lists) != STAGES:
        raise BadSpec(f"attribution needs the lists {', '.join(STAGES)}, in this order, not {', '.join(lists)}")
    if not judgements.counts.all():
        raise BadData(f"question {judgements.ids[int(np.argmin(judgements.counts))]} has no right answer")
    standing = {stage: ranks(ranking, judgements) for stage, ranking in lists.items()}
    k, owner = spelt.cutoff, judgements.relevant.owner
    chain = _chain(standing, k, reach or k, there)
    before = np.stack([(standing["recalled"] > 0) & (standing["recalled"] <= k), chain[1], chain[3]])
    weights = 1 / _shares(judgements)
    if spelt.kind == "Success":
        chain, before = _any(chain, owner, len(judgements)), _any(before, owner, len(judgements))
    else:
        weights = weights[owner] / judgements.counts[owner]
    lost = ~chain[-1]
    cause = np.argmin(chain, axis=0)
    return Attribution(
        measure=spelt.name,
        total=len(lost),
        found=int((~lost).sum()),
        counts={name: int((lost & (cause == n)).sum()) for n, name in enumerate(CAUSES)},
        points={name: float(weights[lost & (cause == n)].sum()) for n, name in enumerate(CAUSES)},
        gained=int((chain[-1] & ~before[1]).sum()),
        moved_out=int((lost & (cause == len(CAUSES) - 1) & before[0]).sum()),
        examples={
            name: _examples(np.flatnonzero(lost & (cause == n)), standing, judgements, spelt.kind, examples)
            for n, name in enumerate(CAUSES)
        },
        moved_in=int((chain[-1] & before[2] & ~before[0]).sum()),
    )


def _chain(standing: Mapping[str, Rows], k: int, reach: int, there: Flags | None) -> Flags:
    """Return (5, n) bool: whether each right answer can be found at all, and is in each of the lists."""
    oracle, index, recalled, final = (standing[stage] for stage in STAGES)
    limits = ((oracle, reach), (index, reach), (recalled, reach), (final, k))
    listed = [(rank > 0) & (rank <= limit) for rank, limit in limits]
    return np.stack([np.ones(len(oracle), np.bool_) if there is None else there, *listed])


def _any(chain: Flags, owner: Rows, count: int) -> Flags:
    """Return (..., q): whether any right answer of a question is in a list."""
    return np.stack([np.bincount(owner[row], minlength=count) > 0 for row in chain])


def _shares(judgements: Judgements) -> Rows:
    """Return (q,) the divisor of each question in the mean: questions in its group times number of groups."""
    _, code, sizes = np.unique(np.asarray(judgements.groups, np.str_), return_inverse=True, return_counts=True)
    shares: Rows = sizes[code] * len(sizes)
    return shares


def _examples(
    units: Rows, standing: Mapping[str, Rows], judgements: Judgements, kind: str, count: int
) -> tuple[Example, ...]:
    """Choose example losses, those that exact search ranks highest first."""
    starts, oracle = judgements.relevant.starts, standing["oracle"]
    key = np.where(oracle > 0, oracle, np.iinfo(np.int64).max)
    if kind == "Success":
        best = [
            int(start + np.argmin(key[start:stop]))
            for start, stop in zip(starts[units], starts[units + 1], strict=True)
        ]
    else:
        best = units.tolist()
    chosen: Sequence[int] = sorted(best, key=lambda n: (key[n], n))[:count]
    owner = judgements.relevant.owner
    return tuple(
        Example(
            judgements.ids[owner[n]],
            int(judgements.relevant.rows[n]),
            {stage: int(rank[n]) for stage, rank in standing.items()},
        )
        for n in chosen
    )
