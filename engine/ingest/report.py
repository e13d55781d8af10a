"""The report of an add: counts, and in plain words what the user should know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from quiver.engine.source.record import LeftOut

#: Examples shown of each reason.
_EXAMPLES = 3


@dataclass(slots=True)
class Report:
    """The outcome of an add.

    Attributes:
        added: items that were new.
        updated: items whose content or metadata changed.
        moved: items with the same content whose files are in another place now.
        embedded: items, new and old, that got vectors.
        unchanged: items skipped, since nothing about them changed.
        quarantined: items that could not be read; ``info`` lists them all.
        reasons: why items were quarantined, with counts and examples.
        left_out: files and rows that are no items, with counts and examples.
        gone: ids of stored items whose files are gone; ``sync`` looks for them.
        deleted: how many of those were deleted; ``prune`` asks for it.
        seconds: how long it took.
        notes: what else the user should know.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    embedded: int = 0
    unchanged: int = 0
    quarantined: int = 0
    reasons: list[LeftOut] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    deleted: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether any row was written."""
        return bool(self.added or self.updated or self.embedded or self.moved or self.deleted)

    def plus(self, other: "Report") -> "Report":
        """Add two reports up."""
        whole = Report(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
        whole.reasons, whole.left_out = merged(whole.reasons), merged(whole.left_out)
        return whole

    def lines(self) -> list[str]:
        """Say in plain words what was left out, what is gone, and what else the user should know."""
        said = [f"left out: {each}" for each in self.left_out]
        said += [f"quarantined: {each}" for each in self.reasons]
        if self.gone:
            some = LeftOut("stored items whose files are gone", len(self.gone), tuple(self.gone[:_EXAMPLES]))
            end = f"{self.deleted:,} deleted" if self.deleted else "kept; prune deletes them"
            said.append(f"gone: {some}; {end}")
        return [*self.notes, *said]


def grouped(problems: Iterable[tuple[str, str | None, str]]) -> list[LeftOut]:
    """Count problems (id, uri, reason) by reason, whatever file it names."""
    return merged(LeftOut(_general(reason, uri), 1, (id,)) for id, uri, reason in problems)


def merged(parts: Iterable[LeftOut]) -> list[LeftOut]:
    """Add up the counts of each reason, the most frequent first."""
    found: dict[str, LeftOut] = {}
    for part in parts:
        before = found.get(part.reason, LeftOut(part.reason, 0, ()))
        examples = (*before.examples, *part.examples)[:_EXAMPLES]
        found[part.reason] = LeftOut(part.reason, before.count + part.count, examples)
    return sorted(found.values(), key=lambda each: -each.count)


def _general(reason: str, uri: str | None) -> str:
    for start in (uri, (uri or "").partition("?offset=")[0]):
        if start and reason.startswith(start):
            return reason.removeprefix(start).lstrip(":, ")
    return reason


def changes(renewed: int, replaced: Sequence[tuple[str, str, str]], report: Report) -> list[str]:
    """Say what an update may have done unseen.

    Args:
        renewed: stored items that got other content.
        replaced: those of them that get it from another file: id, file before, file now.
        report: the counts of the same add.
    """
    if replaced:
        id, old, new = replaced[0]
        many = "1 item now stands" if len(replaced) == 1 else f"{len(replaced):,} items now stand"
        return [f"{many} for another file with other content: {id} is {new}, {old} before"]
    if renewed > 1 and not report.unchanged and not report.moved and report.updated == renewed:
        return [
            f"all {renewed:,} stored items that were found again have new content: if this is another source at the"
            " same place, such as another card, go back to the version before and add it under another path"
        ]
    return []
