"""References as people write them: match paths in tables to existing files.

Tables come from other systems: a Mac writes file names decomposed (NFD) where tables are typed composed (NFC), web
tools escape spaces (``%20``), Windows writes backslashes, and spreadsheets leave quotes and spaces around. A
reference is taken as it stands if its file is there, and else in the first such reading that names a file.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from quiver.media import times

#: A path that can be read in another way: not ASCII, escapes, backslashes, or spaces and quotes around it.
READINGS = r"""[^\x00-\x7F]|%[0-9A-Fa-f]{2}|\\|^[\s"']|[\s"']$"""
_READINGS = re.compile(READINGS)
_AROUND = " \t\r\n\"'\u00a0\ufeff\u200b\u201c\u201d"


def composed(text: str) -> str:
    """Return a text in one normal Unicode form."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain(value: str, *, escapes: bool = False) -> str:
    """Return a path without quotes and spaces around it, with slashes, composed; ``escapes`` are resolved or kept."""
    text = local(value).strip(_AROUND).replace("\\", "/")
    return composed(unquote(text) if escapes and "%" in text else text)


def local(value: str) -> str:
    """Return the path of a ``file://`` URI; anything else stays."""
    if value[:7].lower() != "file://":
        return value
    return url2pathname(urlsplit(value.replace("#", "%23").replace("?", "%3F")).path)


@dataclass(slots=True)
class Finder:
    """Finds the files of references, and caches the folders it has listed."""

    _listed: dict[str, dict[str, str]] = field(default_factory=dict)

    def find(self, root: str, value: str) -> str:
        """Return the absolute path of a reference: of an existing file, or as written."""
        path = _joined(root, local(value))
        if not _READINGS.search(value) or "?offset=" in value or os.path.lexists(times(path)[0]):
            return path
        for reading in _readings(local(value)):
            whole = _joined(root, reading)
            if os.path.lexists(times(whole)[0]) or (whole := self._spelled(whole)):
                return whole
        return path

    def _spelled(self, path: str) -> str:
        """Return a path with every part in the Unicode form that it has on disk; empty if there is no such file."""
        if path.isascii():
            return ""
        base, moment = _split(path)
        found = "/"
        for part in base.strip("/").split("/"):
            here = os.path.join(found, part)
            if not os.path.lexists(here):
                name = self._names(found).get(_form(part))
                if name is None:
                    return ""
                here = os.path.join(found, name)
            found = here
        return found + moment

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._listed:
            self._listed[folder] = {}
            with suppress(OSError):
                self._listed[folder] = {_form(name): name for name in os.listdir(folder)}
        return self._listed[folder]


def _form(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def _split(path: str) -> tuple[str, str]:
    base = times(path)[0]
    return base, path[len(base) :]


def _joined(root: str, value: str) -> str:
    return os.path.normpath(os.path.join(root, os.path.expanduser(value)))


def _readings(value: str) -> Iterator[str]:
    """Yield other ways to read a path, the mildest first."""
    bare = value.strip(_AROUND)
    slashed = bare.replace("\\", "/")
    readings = [value, bare, slashed, unquote(bare), unquote(slashed)]
    yield from dict.fromkeys(readings)
