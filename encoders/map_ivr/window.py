"""Windows of a clip: parts of equal length, or the proposals of a detector. They import no torch and travel to workers.

Shapes: W windows of one clip.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

from quiver.errors import BadData, QuiverError
from quiver.media import moment, read_windows, times
from quiver.media.animation import is_picture
from quiver.media.clip import Clip
from quiver.media.container import open_container
from quiver.media.fetch import content, decoding, head
from quiver.protocols import Reader

#: One proposal: first and last second, and its confidence, if the file has one.
Proposal = tuple[float, float, float | None]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows that are cut out of clips.

    Attributes:
        count: windows of equal length per clip.
        proposals: windows of clips by absolute path, in place of those; a clip that is not named has windows of equal
            length.
    """

    count: int
    proposals: Mapping[str, Sequence[Proposal]] = field(default_factory=dict)

    def cut(self, source: Any, *, length: float | None = None) -> tuple[list[Any], list[float | None]]:
        """Return the sources of the windows of a clip, and their confidences if the file of proposals has them.

        A clip shorter than its windows has fewer; nothing is ever padded.

        Args:
            source: a reference, which may be a moment of a longer video; bytes; or frames (T, H, W, 3).
            length: seconds of the whole video, if they are known already.

        Raises:
            BadMedia: its length cannot be found.
        """
        if isinstance(source, np.ndarray) and source.ndim == 4:
            parts = np.array_split(source, min(self.count, len(source))) if len(source) else [source]
            return parts, [None] * len(parts)
        if not isinstance(source, str | os.PathLike):
            return [source], [None]
        if self.proposals and (found := self._proposed(source)):
            whole = times(source)[0]
            return [moment(whole, start, stop) for start, stop, _ in found], [score for *_, score in found]
        if self.count == 1:
            return [source], [None]
        parts = uniform(source, self.count, length=length)
        return parts, [None] * len(parts)

    def _proposed(self, source: str | os.PathLike[str]) -> list[Proposal]:
        """Return the proposals whose middle lies in a clip, cut to it."""
        whole, first, last = times(source)
        end = float("inf") if last is None else last
        known = self.proposals.get(os.path.abspath(whole), ())
        within = [each for each in known if first <= (each[0] + each[1]) / 2 < end]
        return [(max(start, first), min(stop, end), score) for start, stop, score in within]


@dataclass(frozen=True, slots=True)
class WindowReader:
    """Reads the windows of a clip.

    Attributes:
        windows: cuts the clip.
        read: reads one window.
    """

    windows: Windows
    read: Reader

    def __call__(self, source: Any) -> tuple[list[Any], list[float | None]]:
        """Return the outputs of the reader, and the confidences, of at least one window.

        Raises:
            BadMedia: the clip has no video, or a window cannot be decoded.
        """
        parts, scores = self.windows.cut(source)
        return [self.read(part) for part in parts], scores

    def moments(
        self, source: str, spans: Sequence[tuple[float, float]]
    ) -> Iterator[tuple[list[Any], list[float | None]] | QuiverError]:
        """Yield the same for windows of a long video, or the error of each; see ``quiver.protocols.Reader``."""
        try:
            length = _length(source)
        except QuiverError as error:
            yield from repeat(error, len(spans))
            return
        cuts = [self.windows.cut(moment(source, *span), length=length) for span in spans]
        inner = [times(part)[1:] for parts, _ in cuts for part in parts]
        found = read_windows(self.read, source, [(start, stop or 0.0) for start, stop in inner])
        for parts, scores in cuts:
            read = list(islice(found, len(parts)))
            yield next((each for each in read if isinstance(each, QuiverError)), (read, scores))


def uniform(source: str | os.PathLike[str], count: int, *, length: float | None = None) -> list[Any]:
    """Cut a clip into moments of equal length; a picture or an animation stays whole.

    Args:
        source: a reference, which may be a moment of a longer video.
        count: number of moments.
        length: seconds of the whole video, if they are known already.

    Raises:
        BadMedia: it cannot be read.
    """
    whole, first, last = times(source)
    if length is None:
        with decoding(source):
            length = _length(whole)
    if length == 0:
        return [source]
    stop = length if last is None else min(last, length)
    if stop - first < 1e-3 * count:  # such as a clip of one frame
        return [source]
    ends = [first + (stop - first) * n / count for n in range(count + 1)]
    return [moment(whole, a, b) for a, b in pairwise(ends)]


def _length(whole: str) -> float:
    """Return the seconds of a video; 0 for a picture or an animation."""
    with decoding(whole):
        opened = content(whole)
        if is_picture(head(opened)):
            return 0.0
        with open_container(opened) as container:
            clip = Clip(container)
            return float(clip.span * clip.base)


def read_proposals(path: Path) -> dict[str, list[Proposal]]:
    """Read proposals from a CSV file with the columns path, start, stop (in seconds) and, maybe, score.

    Args:
        path: the file; relative paths in it start from its folder.

    Raises:
        BadData: a column is missing, or a row is not a window; the message names the row.
    """
    import csv

    if not path.is_file():
        raise BadData(f"{path}: there is no such file of proposals")
    found: dict[str, list[Proposal]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if lacking := [name for name in ("path", "start", "stop") if name not in (rows.fieldnames or ())]:
            raise BadData(f"{path} has no column {lacking[0]!r}: proposals have the columns path, start, stop, score")
        for number, row in enumerate(rows, 2):
            name, proposal = _proposal(row, f"{path}, line {number}")
            found.setdefault(os.path.abspath(path.parent / name), []).append(proposal)
    return found


def _proposal(row: Mapping[str, str | None], where: str) -> tuple[str, Proposal]:
    try:
        start, stop = float(row["start"] or ""), float(row["stop"] or "")
        score = float(row["score"] or "") if row.get("score") else None
    except ValueError as error:
        raise BadData(f"{where}: start, stop and score must be numbers") from error
    finite = math.isfinite(stop) and (score is None or math.isfinite(score))
    if not (row["path"] and 0 <= start < stop and finite):
        raise BadData(f"{where}: a proposal needs a path and seconds with 0 <= start < stop, not {start:g} to {stop:g}")
    return row["path"], (start, stop, score)
