"""Common code of the local packs: splits by group, similarity questions, and final checks of a task.

A pack on disk is its development part; its owner keeps a disjoint part of it. Each module divides the development
part once more, by a fixed rule, so that figures can be published without that kept part: groups of things that are
nearly the same go to one split as a whole.
"""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quiver.benchmarks.datasets import _place
from quiver.benchmarks.datasets._read import Lazy, Source, unique
from quiver.errors import BadData
from quiver.files import cache_home
from quiver.task import Question, Task, check
from quiver.types import Item, Query

Split = Literal["train", "validation", "test", "all"]
Row = dict[str, str]

#: Split of a group by the last digit of its hash.
TENTHS = ("train",) * 7 + ("validation",) + ("test",) * 2


def made(name: str) -> Path:
    """Return the folder for media that are made of a data set's files: ``$QUIVER_CACHE``, else ``~/.cache/quiver``."""
    return cache_home() / "datasets" / name


def split_of(group: str, *, pack: str) -> str:
    """Return the split of a group: seven tenths of all train, one validation, two test, by SHA-256 of its name.

    >>> split_of("1544", pack="fashion_products")
    'train'
    """
    return TENTHS[digest(f"{pack}/{group}") % len(TENTHS)]


def digest(text: str) -> int:
    """Return a number that a text always has, on any machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def connected(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Gather rows that share a key, directly or through others.

    Returns:
        For each row the first row it is connected to.

    >>> connected([["a"], ["b"], ["a", "c"], ["c"]])
    [0, 1, 0, 0]
    """
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            row = parent[row]
        return row

    first: dict[Hashable, int] = {}
    for row, its in enumerate(keys):
        for key in its:
            low, high = sorted((root(row), root(first.setdefault(key, row))))
            parent[high] = low
    return [root(row) for row in range(len(keys))]


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing of a kind.

    Attributes:
        id: unique within its pack.
        media: its references.
        label: things of one label answer each other.
        group: things of one group are nearly the same, and do not answer each other.
        meta: columns of its item.
    """

    id: str
    media: Mapping[str, str]
    label: str
    group: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def item(self) -> Item:
        """The items to search."""
        return Item(self.id, self.media, self.meta)


def alike(samples: Sequence[Sample], *, target: str) -> tuple[Sequence[Question], int]:
    """Ask for others of its label with each thing, leaving its own group out of the competition.

    Returns:
        The questions, and how many things cannot be asked since their label has no other group.
    """
    labels, groups = _ids(samples, "label"), _ids(samples, "group")
    both: dict[tuple[str, str], int] = defaultdict(int)
    for sample in samples:
        both[sample.label, sample.group] += 1
    asked = [sample for sample in samples if len(labels[sample.label]) > both[sample.label, sample.group]]

    def question(index: int) -> Question:
        sample = asked[index]
        own = groups[sample.group]
        return Question(
            id=sample.id,
            query=Query(media=dict(sample.media), target=target),
            relevant={id: 1 for id in labels[sample.label] if id not in own},
            exclude=tuple(own),
        )

    return Lazy(len(asked), question), len(samples) - len(asked)


def named(samples: Sequence[Sample], texts: Mapping[str, str], *, target: str) -> list[Question]:
    """Ask for every thing of a label with the text of that label."""
    labels = _ids(samples, "label")
    return [
        Question(id=label, query=Query(media={"text": texts[label]}, target=target), relevant=dict.fromkeys(ids, 1))
        for label, ids in sorted(labels.items())
    ]


def _ids(samples: Sequence[Sample], name: str) -> dict[str, dict[str, None]]:
    ids: dict[str, dict[str, None]] = defaultdict(dict)
    for sample in samples:
        ids[getattr(sample, name)][sample.id] = None
    return ids


def whole(source: Source, files: Sequence[Path], *, partial: bool) -> None:
    """See that the media of a pack are there, and noted once each.

    Raises:
        BadData: a file is missing, and the pack was not said to be partial; or a file is listed twice.
    """
    unique([str(path) for path in files], f"{source.home.name}: file")
    gone = [path for path in files if not path.is_file()]
    if gone and not partial:
        raise BadData(
            f"{source.home.name}: {len(gone):,} of {len(files):,} media files are missing, such as {gone[0]}: "
            "copy the whole pack, or leave them out with partial=true"
        )


def finish(task: Task, *, partial: bool) -> Task:
    """Leave out the media that a partial pack lacks, and check that the task can be scored.

    Raises:
        BadData: nothing is left to ask, or the task contradicts itself.
    """
    if not task.questions:
        raise BadData(f"{task.name}: no question is left; {'; '.join(task.notes) or 'choose another split'}")
    return check(_place.present(task) if partial else task)
