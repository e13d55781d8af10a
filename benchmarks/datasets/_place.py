"""Location of a data set on disk, instructions if it is missing, and its available media.

A data set is looked for in the folder given; without one in ``$QUIVER_DATA/<name>``, then in
``$QUIVER_DATA/annotations/<name>``, where QUIVER_DATA is ``../shared/data`` unless set.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quiver.errors import BadData
from quiver.media import times
from quiver.task import Question, Task


@dataclass(frozen=True, slots=True)
class Home:
    """Origin of a data set.

    Attributes:
        name: its module, and the folder it is looked for in.
        url: where to get it.
        licence: what its publishers allow, as far as they say.
        put: what to put where in the folder.
    """

    name: str
    url: str
    licence: str
    put: str

    def __str__(self) -> str:
        return f"{self.url}; licence: {self.licence}"

    def absent(self, what: str, places: list[Path]) -> BadData:
        """Raise an error that names a missing file and its source."""
        looked = ", ".join(str(place) for place in places)
        return BadData(
            f"{self.name} is not on disk: no {what} (nor {what}.gz) in {looked}. "
            f"Get it from {self.url} (licence: {self.licence}) and put {self.put}; folder=... says where that is"
        )


def places(name: str, folder: Path | None) -> list[Path]:
    """List the folders a data set may lie in, the likeliest first."""
    if folder is not None:
        return [folder]
    root = Path(os.environ.get("QUIVER_DATA", "../shared/data"))
    return [root / name, root / "annotations" / name]


def media(roots: list[Path], *names: str) -> Path:
    """Return the first folder of one of these names that exists, or else the one that ought to."""
    found = (root / name for root in roots for name in names if (root / name).is_dir())
    return next(found, roots[0] / names[0])


def missing(task: Task) -> list[str]:
    """List the media files a task refers to and that are not on disk, each once, in order of first use."""
    return [ref for ref in _references(task) if not os.path.exists(times(ref)[0])]


def present(task: Task) -> Task:
    """Leave out questions and items whose media are not on disk, and add their number to the notes.

    An item goes when a medium of its own is missing. A question goes when what it holds is missing, or when all
    that would answer it has gone; it keeps the answers that are left. A task with all its media is returned as is.

    Raises:
        BadData: nothing is left to ask.
    """
    gone = set(missing(task))
    if not gone:
        return task
    items = [item for item in task.items if gone.isdisjoint(_files(item.media))]
    kept = {item.id for item in items}
    held = [question for question in task.questions if gone.isdisjoint(_files(question.query.media))]
    questions = [_narrow(question, kept) for question in held if _answerable(question, kept)]
    if not questions:
        raise BadData(f"{task.name}: {len(gone)} media files are missing, such as {min(gone)}: no question is left")
    notes = (
        f"{len(gone)} media files are missing, such as {min(gone)}",
        f"left out for missing media: {len(task.items) - len(items)} of {len(task.items)} items; "
        f"{len(task.questions) - len(held)} of {len(task.questions)} questions, and {len(held) - len(questions)} "
        "more whose every answer is missing",
    )
    return replace(task, items=items, questions=questions, notes=task.notes + notes)


def _answerable(question: Question, kept: set[str]) -> bool:
    return not question.relevant or not kept.isdisjoint(set(question.relevant) - set(question.exclude))


def _narrow(question: Question, kept: set[str]) -> Question:
    candidates = question.candidates
    return replace(
        question,
        relevant={id: grade for id, grade in question.relevant.items() if id in kept},
        exclude=tuple(id for id in question.exclude if id in kept),
        candidates=candidates and tuple(id for id in candidates if id in kept),
    )


def _references(task: Task) -> Iterator[str]:
    seen: set[str] = set()
    for media in (item.media for item in task.items):
        yield from _fresh(media, seen)
    for question in task.questions:
        yield from _fresh(question.query.media, seen)


def _fresh(media: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    for ref in _files(media):
        if ref not in seen:
            seen.add(ref)
            yield ref


def _files(media: Mapping[str, Any]) -> list[str]:
    return [ref for key, ref in media.items() if key != "text" and isinstance(ref, str)]
