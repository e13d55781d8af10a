"""The report of an add: counts and notes for the user."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from quiver.engine.source.record import LeftOut
from quiver.media import times
from quiver.wording import option

#: Number of examples shown per reason.
_EXAMPLES = 3


@dataclass(slots=True)
class Report:
    """The outcome of an add.

    Attributes:
        added: items that were new.
        updated: items whose content or metadata changed.
        moved: items with unchanged content whose files have moved.
        embedded: items, new and old, that got vectors.
        unchanged: items that were skipped because nothing changed.
        quarantined: items that could not be read; ``info`` lists them all.
        reasons: why items were quarantined, with counts and examples.
        left_out: files and rows that are not items, with counts and examples.
        gone: ids of stored items whose files are gone; ``sync`` looks for them.
        emptied: ids of stored items of folders, tables and tars in which nothing is left; a disk may not be mounted.
        deleted: number of items that were deleted: ``prune`` deletes those that are gone, and with ``expect`` all.
        seconds: duration.
        notes: other notes for the user.
        captioned: items that got a caption.
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
    emptied: list[str] = field(default_factory=list)
    deleted: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    captioned: int = 0

    @property
    def changed(self) -> bool:
        """Whether any row was written."""
        return bool(self.added or self.updated or self.embedded or self.moved or self.deleted or self.captioned)

    def counts(self) -> dict[str, int | float]:
        """Return its numbers by name, for JSON."""
        return {each.name: value for each in fields(self) if isinstance(value := getattr(self, each.name), int | float)}

    def plus(self, other: "Report") -> "Report":
        """Return the sum of two reports."""
        whole = Report(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
        whole.reasons, whole.left_out = merged(whole.reasons), merged(whole.left_out)
        return whole

    def lines(self) -> list[str]:
        """Return lines for the user: left out files, quarantined items, missing files, and other notes."""
        said = [f"left out: {each}" for each in self.left_out]
        said += [f"quarantined: {each}" for each in self.reasons]
        if self.gone:
            some = LeftOut("stored items whose files are gone", len(self.gone), tuple(self.gone[:_EXAMPLES]))
            end = f"{self.deleted:,} deleted" if self.deleted else f"kept; {option('prune', True)} deletes them"
            said.append(f"gone: {some}; {end}")
        return [*self.notes, *said]


def grouped(problems: Iterable[tuple[str, str | None, str]]) -> list[LeftOut]:
    """Count problems (id, uri, reason) by reason, ignoring file names in it; windows of one film share its first."""
    films: dict[str, str] = {}
    parts = []
    for id, uri, reason in problems:
        general = _general(reason, uri)
        if uri is not None and (film := times(uri)[0]) != uri:
            general = films.setdefault(film, f"windows of a film: {general}")
        parts.append(LeftOut(general, 1, (id,)))
    return merged(parts)


def merged(parts: Iterable[LeftOut]) -> list[LeftOut]:
    """Add up the counts of each reason, the most frequent first."""
    found: dict[str, LeftOut] = {}
    for part in parts:
        before = found.get(part.reason, LeftOut(part.reason, 0, ()))
        examples = (*before.examples, *part.examples)[:_EXAMPLES]
        found[part.reason] = LeftOut(part.reason, before.count + part.count, examples)
    return sorted(found.values(), key=lambda each: -each.count)


def without(partial: Mapping[tuple[str, str], Mapping[str, str]]) -> list[str]:
    """Return a note for each encoder and key that gave some stored items no vector.

    Args:
        partial: by encoder and key the ids of these items, each with the reason.
    """
    notes = []
    for (spec, key), reasons in partial.items():
        id, why = next(iter(reasons.items()))
        many = "1 item is" if len(reasons) == 1 else f"{len(reasons):,} items are"
        notes.append(f"{many} stored without a {key} vector of {spec}, such as {id}: {why}")
    return notes


def _general(reason: str, uri: str | None) -> str:
    for start in (uri, times(uri or "")[0], (uri or "").partition("?offset=")[0]):
        if start and reason.startswith(start):
            return reason.removeprefix(start).lstrip(":, ")
    return reason


def changes(renewed: int, replaced: Sequence[tuple[str, str, str]], report: Report) -> list[str]:
    """Warn about updates that the user may not have meant.

    Args:
        renewed: number of stored items with new content.
        replaced: those with content from another file: id, file before, file now.
        report: counts of the same add.
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
