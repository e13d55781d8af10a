"""Where the recall went: every loss has one cause, the first stage of the search that did not have the answer.

* ``missing``: the item could not be taken in, or the question could not be read.
* ``encoder``: exact search already misses it.
* ``index``: exact search finds it, the approximate index does not.
* ``depth``: the index finds it, but too few candidates were recalled for it to be among them.
* ``reranker``: it was recalled, and did not come out on top. ``moved_out`` counts those of them that were among the
  first k before, and ``moved_in`` what was recalled, and came among the first k only then.

A scorer that recalls its own candidates is no reranker: its exact scan is the exact search, what its probes and the
index lose of it is the index's loss, and what a smaller depth than the planner's loses more is the depth's.

A loss is a question without a right answer in its first k (Success@k), or a right answer that is not there (R@k).
Counts add up exactly to what is lost, and the points of the figure add up to what it lacks to 1.

Shapes: q questions, n right answers of all questions together, u things that can be lost (q or n).
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
#: The lists, in the order of the search: each takes from the one before.
STAGES = ("oracle", "index", "recalled", "final")


@dataclass(frozen=True, slots=True)
class Example:
    """One loss to look at.

    Attributes:
        question: its id.
        answer: the place of a right answer in the task's items: the one that exact search has highest.
        ranks: of that answer in each list, from 1; 0 where it is not listed.
    """

    question: str
    answer: int
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What became of everything that could be found.

    Attributes:
        measure: ``Success@k`` or ``R@k``.
        total: how many things there are to find: questions, or right answers.
        found: how many of them are in the first k at the end.
        counts: losses by cause; they and ``found`` add up to ``total``.
        points: by cause, how much of the measure is lost.
        gained: found at the end, though exact search misses them.
        moved_out: losses to the reranker that were among the first k before it.
        examples: losses to look at, by cause.
        moved_in: found at the end, recalled below the first k before the reranker.
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
        """How many are not found."""
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
        lists: one ranking for each of STAGES; where there is no reranker, ``final`` is ``recalled``.
        judgements: what is relevant.
        measure: ``Success@k`` or ``R@k``.
        reach: how deep exact search and index are looked at. Without a reranker nothing below k can come up, so that
            k is right and the default; with one it is the greatest depth it might be given.
        there: (n,) which right answers could be found at all: the item was taken in and the question was read.
        examples: how many losses of each cause to show.

    Raises:
        BadSpec: the measure is another, or the lists are not those of STAGES.
        BadData: a question has no right answer.
    """
    spelt = parse(measure)
    if spelt.kind not in ("Success", "R") or spelt.cutoff is None:
        raise BadSpec(f"losses of Success@k and R@k can be attributed, not those of {measure}")
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
    """Return (5, n): whether each right answer is there at all, and in each of the lists."""
    oracle, index, recalled, final = (standing[stage] for stage in STAGES)
    limits = ((oracle, reach), (index, reach), (recalled, reach), (final, k))
    listed = [(rank > 0) & (rank <= limit) for rank, limit in limits]
    return np.stack([np.ones(len(oracle), np.bool_) if there is None else there, *listed])


def _any(chain: Flags, owner: Rows, count: int) -> Flags:
    """Return (..., q): whether any right answer of a question is in a list."""
    return np.stack([np.bincount(owner[row], minlength=count) > 0 for row in chain])


def _shares(judgements: Judgements) -> Rows:
    """Return (q,) the number that each question is one part of: its group's questions times the groups."""
    _, code, sizes = np.unique(np.asarray(judgements.groups, np.str_), return_inverse=True, return_counts=True)
    shares: Rows = sizes[code] * len(sizes)
    return shares


def _examples(
    units: Rows, standing: Mapping[str, Rows], judgements: Judgements, kind: str, count: int
) -> tuple[Example, ...]:
    """Choose losses, those that exact search has highest first."""
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
