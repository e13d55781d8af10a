"""Location of a manifest: turns its paths into references and ids.

A file below the folder of the manifest has the id it would have if that folder itself were added,
``<folder name>/<path below it>``; so has a file below another root of the collection. Any other local file has its
absolute path, and a URI is its own id.
"""

import codecs
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiver.engine.source.references import READINGS, Finder
from quiver.engine.source.roots import Roots, real
from quiver.errors import BadMedia

if TYPE_CHECKING:
    import pyarrow as pa

#: Signs that a path is not a plain relative one: a leading slash, a scheme, ``.``, ``..`` or an empty step.
_ODD = rf"^/|^~|://|//|(^|/)[.]{{1,2}}(/|$)|{READINGS}"
_TEXT_BYTES = 1 << 20


def is_uri(reference: str) -> bool:
    """Whether a reference is not on a local disk."""
    return "://" in reference and reference[:7].lower() != "file://"


def read_text(path: str) -> str | None:
    """Return the content of a text file without surrounding space, or None if it is empty.

    Raises:
        BadMedia: it cannot be read, is not UTF-8 (nor UTF-16 or UTF-32 with a mark), or is over 1 MiB and so no caption
            or passage.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_TEXT_BYTES + 1)
    except OSError as error:
        raise BadMedia(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _TEXT_BYTES:
        raise BadMedia(f"{path} is over 1 MiB: split it into passages, one item each")
    try:
        return content.decode(_encoding(content[:4])).strip() or None
    except UnicodeDecodeError as error:
        raise BadMedia(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _encoding(first: bytes) -> str:
    """Return the encoding of a byte-order mark, as editors on Windows write it; UTF-8 without a mark."""
    if first.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that relative paths start from.

    Attributes:
        root: its absolute path.
        prefix: the text that ids below it begin with.
        roots: the roots of the collection.
    """

    root: str
    prefix: str
    roots: Roots = field(default_factory=Roots, compare=False)
    finder: Finder = field(default_factory=Finder, compare=False, repr=False)

    @classmethod
    def of(cls, path: str) -> "Place":
        """Return the place of a file's folder, with no other roots."""
        root = os.path.dirname(os.path.abspath(path))
        return cls(root, f"{os.path.basename(root)}/".lstrip("/"))

    def resolve(self, values: "pa.Array") -> "pa.Array":
        """Make paths absolute; URIs and nulls stay."""
        return self._each(values, self.root.rstrip("/") + "/", self.absolute)

    def identify(self, values: "pa.Array") -> "pa.Array":
        """Return the ids of paths as written in the manifest."""
        whole = self.roots.aliases or self.roots.has_below(real(self.root))
        return self._each(values, None if whole else self.prefix, self._id)

    def _each(self, values: "pa.Array", prefix: str | None, otherwise: Callable[[str], str]) -> "pa.Array":
        """Prefix all paths at once where all are plain, else go through them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if prefix is not None and not pc.any(pc.match_substring_regex(values, _ODD)).as_py():
            return pc.binary_join_element_wise(prefix, values, "") if prefix else values
        return pa.array([None if value is None else otherwise(value) for value in values.to_pylist()], pa.string())

    def absolute(self, value: str) -> str:
        """Make one path absolute; a URI stays."""
        if is_uri(value):
            return value
        return self.finder.find(self.root, value)

    def _id(self, value: str) -> str:
        path = self.absolute(value)
        if is_uri(path):
            return path
        below = path.removeprefix(self.root.rstrip("/") + "/")
        return self.roots.id_of(path) or (path if below == path else self.prefix + below)
