"""Reading of annotation files: plain or gzipped, hashed, and checked against published counts.

Hashes are of the unpacked bytes, so that a gzipped copy is the same data. A count that differs is an error that
names file, found and expected; ``partial=true`` lets it pass and says so in the task's notes.
"""

import csv
import gzip
import hashlib
import io
import json
import shlex
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from quiver.benchmarks.datasets import _place
from quiver.benchmarks.datasets._place import Home
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item

T = TypeVar("T")


class Source:
    """The annotation files of one data set, and notes on them.

    Attributes:
        home: where it comes from.
        roots: the folders that may hold it.
        notes: what was found wrong and what was done about it.
    """

    def __init__(self, home: Home, folder: Path | None, *, partial: bool) -> None:
        self.home = home
        self.roots = _place.places(home.name, folder)
        self.notes: list[str] = []
        self._partial = partial
        self._digest = hashlib.sha256()

    def path(self, name: str) -> Path:
        """Find a file under its official path or its bare name, plain or gzipped.

        Raises:
            BadData: it is not on disk; the message says where to get it and where to put it.
        """
        names = dict.fromkeys((name, f"{name}.gz", Path(name).name, f"{Path(name).name}.gz"))
        for path in (root / each for root in self.roots for each in names):
            if path.is_file():
                return path
        raise self.home.absent(name, self.roots)

    def has(self, name: str) -> bool:
        """Say whether a file that is not always needed is there."""
        try:
            return self.path(name).is_file()
        except BadData:
            return False

    def media(self, *names: str) -> Path:
        """Return the folder of the media: the first of these names that exists, or else the first."""
        return _place.media(self.roots, *names)

    def text(self, name: str) -> str:
        """Read a file as UTF-8, adding it to the revision."""
        path = self.path(name)
        try:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            self.mark(data)
            return data.decode("utf-8-sig")
        except (OSError, EOFError, zlib.error) as error:
            raise BadData(f"{path} cannot be read: {error}") from error
        except UnicodeDecodeError as error:
            raise BadData(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error

    def lines(self, name: str) -> list[str]:
        """Read the lines that are not blank, without the space around them."""
        return [line for line in map(str.strip, self.text(name).splitlines()) if line]

    def records(self, name: str, *fields: str) -> list[dict[str, Any]]:
        """Read a JSON list of objects that all have these fields."""
        rows = self._json(name)
        if not isinstance(rows, list):
            raise BadData(f"{self.path(name)}: a JSON list is needed, not a {type(rows).__name__}")
        for number, row in enumerate(rows):
            if absent := [field for field in fields if not isinstance(row, dict) or field not in row]:
                raise BadData(f"{self.path(name)}: record {number} has no {absent[0]!r}")
        return rows

    def mapping(self, name: str) -> dict[str, Any]:
        """Read a JSON object."""
        table = self._json(name)
        if not isinstance(table, dict):
            raise BadData(f"{self.path(name)}: a JSON object is needed, not a {type(table).__name__}")
        return table

    def strings(self, name: str) -> list[str]:
        """Read a JSON list of strings that are all different."""
        names = self._json(name)
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise BadData(f"{self.path(name)}: a JSON list of strings is needed")
        unique(names, f"{self.path(name)}: name")
        return names

    def rows(self, name: str, *columns: str) -> list[dict[str, str]]:
        """Read a CSV table with a header that has these columns; every row has as many cells."""
        reader = csv.DictReader(io.StringIO(self.text(name), newline=""))
        if absent := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise BadData(f"{self.path(name)} has no column {absent[0]!r}; it has {', '.join(reader.fieldnames or ())}")
        rows = []
        try:
            for row in reader:
                if len(row) > len(reader.fieldnames or ()) or None in row.values():
                    raise BadData(f"{self.path(name)} line {reader.line_num}: not as many cells as the header has")
                rows.append(row)
        except csv.Error as error:
            raise BadData(f"{self.path(name)} line {reader.line_num}: {error}") from error
        return rows

    def mark(self, data: bytes) -> None:
        """Add bytes to the revision."""
        self._digest.update(hashlib.sha256(data).digest())

    def count(self, name: str, what: str, found: int, *expected: int) -> None:
        """Check a count against the published ones, one number for each release.

        Raises:
            BadData: it is none of them, and the files were not said to be partial.
        """
        if found in expected:
            return
        wanted = " or ".join(f"{number:,}" for number in expected)
        if not self._partial:
            raise BadData(
                f"{self.path(name)}: {found:,} {what}, expected {wanted}: the file is not the official one; "
                "partial=true reads it anyway"
            )
        self.notes.append(f"PARTIAL: {found:,} {what} of {wanted}: figures are not comparable with the official set")

    def note(self, count: int, what: str) -> None:
        """Add a note with a count, unless it is 0."""
        if count:
            self.notes.append(f"{count:,} {what}")

    def task(
        self,
        name: str,
        items: Sequence[Item],
        questions: Sequence[Question],
        *,
        measures: tuple[str, ...],
        target: str,
        protocol: str,
    ) -> Task:
        """Create the task; its revision covers every file read, the spec and the protocol."""
        digest = self._digest.copy()
        digest.update(f"{name}\n{protocol}".encode())
        return Task(
            name=name,
            revision=digest.hexdigest(),
            items=items,
            questions=questions,
            measures=measures,
            target=target,
            protocol=protocol,
            source=str(self.home),
            notes=tuple(self.notes),
        )

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise BadData(f"{self.path(name)} is not JSON: {error}") from error


class Lazy(Sequence[T]):
    """A sequence whose members are created on access: hundreds of thousands of questions take no memory."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._range = range(count)
        self._make = make

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._make(number) for number in self._range[index]]
        return self._make(self._range[index])


def spec(name: str, **options: object) -> str:
    """Write the spec that loads a task.

    >>> spec("fashion_iq", split="val", category="dress")
    'fashion_iq split=val category=dress'
    """
    return shlex.join([name, *(f"{key}={value}" for key, value in options.items())])


def unique(ids: Iterable[str], what: str) -> None:
    """Check that no id occurs twice.

    Raises:
        BadData: one does; ``what`` begins the message.
    """
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise BadData(f"{what} {id!r} occurs twice")
        seen.add(id)
