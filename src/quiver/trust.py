"""What this user has named on this machine: encoders, kinds of index, folders of files.

A collection or model folder may come from a stranger, so what is written in it is data. It names encoders, and an
encoder can be any Python module, or open any file. So a name that is read from such a folder is used only where

- it is one of Quiver's own encoders, with no option that names a file, a repository or another module, but for a
  checkpoint that ships with it,
- its files lie in a folder that the user named, or
- the user gave that very spec on this machine, by ``encoder=``, by training, or by ``trust=``. ``trust=`` never allows
  a spec that runs the code of a model's author (``custom_code=true``).

These decisions lie outside all collections, one small file each, in ``$QUIVER_CONFIG``, else ``quiver`` in
``$XDG_CONFIG_HOME`` or ``~/.config``.
"""

import hashlib
import inspect
import json
import logging
import os
import re
import shlex
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.errors import BadMedia, BadSpec, QuiverError, Untrusted
from quiver.files import write_json
from quiver.media import locate
from quiver.types import Item

_LOG = logging.getLogger("quiver")
#: A value that can name no file, repository or module: a number or numbers, a plain word.
_WORD = re.compile(r"[\w+-]*|[-+\d.,eE]*")
#: Options that name a published model; their values may have dots, as ``vit_base_patch16_224.openai``.
_MODELS = ("model", "pretrained")
_MODEL = re.compile(r"\w[\w.+-]*")
_accepting: ContextVar[bool] = ContextVar("accepting", default=False)
_remembered: set[tuple[str, ...]] = set()
_plain: set[str] = set()
#: Folders that are remembered of one collection; beyond them, the folders above are.
_FOLDERS = 256


def home() -> Path:
    """Return the folder of this user's settings."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get("QUIVER_CONFIG") or Path(base, "quiver"))


def remember(*what: str) -> None:
    """Remember a decision, such as ``("encoder", spec)``, on this machine; for this process where that cannot be."""
    _remembered.add(what)
    path = _file(what)
    if not path.exists():
        try:
            write_json(path, list(what))
        except QuiverError as error:
            _doubt(str(path.parent), str(error))


def remembers(*what: str) -> bool:
    """Tell whether a decision was made on this machine."""
    if what not in _remembered and _read(_file(what)) == list(what):
        _remembered.add(what)
    return what in _remembered


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # gone or damaged: nothing is remembered
        return None


def _file(what: tuple[str, ...]) -> Path:
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:40]
    return home() / "trust" / f"{name}.json"


@cache
def _doubt(folder: str, reason: str) -> None:
    _LOG.warning("what you trust is remembered by this process only: %s", reason)


@contextmanager
def accepting(yes: bool) -> Iterator[None]:
    """Take whatever ``check`` asks for as given by the user, and remember it."""
    token = _accepting.set(yes or _accepting.get())
    try:
        yield
    finally:
        _accepting.reset(token)


def give(spec: str) -> None:
    """Remember encoders that the user named, joined by " + ", and those that their options name."""
    for each in _parts(spec):
        if is_plain(each):
            continue
        remember("encoder", _normal(each))
        remember("encoder", registry.canonical(each))
        for value in registry.split(each)[1].values():
            path = value.startswith("./") or os.path.isabs(value) or os.path.exists(value)
            if not path and not _WORD.fullmatch(value):
                with suppress(BadSpec):  # it is no spec: a path with spaces, or a text
                    give(value)


def check(spec: str, *, place: str | os.PathLike[str], within: Path | None = None) -> None:
    """See that an encoder which a stored collection or model names may be loaded.

    Args:
        spec: the encoder.
        place: where it was read, for the message.
        within: a folder that the user named; files in it may be opened.

    Raises:
        Untrusted: the user has to be asked.
    """
    what = ("encoder", _normal(spec))
    if what in _remembered or (within is None and spec in _plain):
        return
    if is_plain(spec, within=within):
        _plain.update([spec] if within is None else [])
        return
    if remembers(*what):
        return
    if runs_custom_code(spec):
        raise Untrusted(
            f"{os.fspath(place)} names the encoder {spec!r}, which runs Python code of a model's author: --trust does"
            " not allow that; if you have read the code, name the encoder yourself by --encoder (encoder= in Python)"
        )
    if not _accepting.get():
        raise Untrusted(
            f"{os.fspath(place)} names the encoder {spec!r}, which runs code or opens files that you did not name on"
            " this machine: if you trust it, say so once by --trust (trust=True in Python), or name it yourself"
        )
    give(spec)


def check_links(folder: str) -> None:
    """See that no link in the folder of a collection leads out of it, where files would be read and written.

    Raises:
        Untrusted: one does, and the user has to be asked.
    """
    whole = os.path.realpath(folder)
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            link = os.path.join(place, name)
            if not os.path.islink(link):
                continue
            target = os.path.realpath(link)
            what = ("link", whole, os.path.relpath(link, folder), target)
            if target == whole or target.startswith(whole + os.sep) or remembers(*what):
                continue
            if not _accepting.get():
                raise Untrusted(
                    f"{link} is a link to {target}, outside of the collection, where files would be read and written:"
                    " if you trust it, say so once by --trust (trust=True in Python)"
                )
            remember(*what)


def check_places(folder: str, places: Iterable[str]) -> None:
    """See that a collection keeps its rows in no other place, from which they would be read.

    Raises:
        Untrusted: it does, and the user has to be asked.
    """
    for place in places:
        what = ("place", folder, place)
        if remembers(*what):
            continue
        if not _accepting.get():
            raise Untrusted(
                f"{folder} says that some of its rows are in {place}: if you trust it, say so once by --trust"
                " (trust=True in Python)"
            )
        remember(*what)


def _parts(spec: str) -> list[str]:
    return [part.strip() for part in spec.split(" + ") if part.strip()]


def _normal(spec: str) -> str:
    name, options = registry.split(spec)
    return shlex.join([name, *(f"{key}={value}" for key, value in options.items())])


def is_plain(spec: str, *, within: Path | None = None) -> bool:
    """Tell whether a spec names one of Quiver's own encoders and nothing else: no file, repository or module.

    >>> is_plain("classic dim=64"), is_plain("timm model=resnet50"), is_plain("timm model=resnet50 checkpoint=a.pt")
    (True, True, False)
    >>> is_plain("transformers model=someone/model"), is_plain("my_company.encoder")
    (False, False)
    """
    name, options = registry.split(spec)
    if "." in name or name not in registry.names("encoders"):
        return False
    accepted = inspect.signature(registry.module("encoders", name).load, eval_str=True).parameters
    ours = registry.shipped("encoders", name)
    for key, value in options.items():
        if key == registry.CHECKPOINT and value in ours:
            continue
        if key not in accepted or not (
            _harmless(key, value, accepted[key].annotation) or (within is not None and _inside(value, within))
        ):
            return False
    return True


def runs_custom_code(spec: str) -> bool:
    """Tell whether a spec, or one within its options, lets the Python code that comes with a model run.

    >>> runs_custom_code("sentence_transformers model=a/b custom_code=true"), runs_custom_code("timm model=resnet50")
    (True, False)
    """
    for part in _parts(spec):
        try:
            options = registry.split(part)[1]
        except BadSpec:
            continue
        for key, value in options.items():
            if key == "custom_code" and not _is_off(value):
                return True
            if "custom_code" in value and runs_custom_code(value):
                return True
    return False


def _is_off(value: str) -> bool:
    return value.lower() in {"false", "no", "0"}


def _harmless(key: str, value: str, annotation: Any) -> bool:
    if key == "custom_code":
        return _is_off(value)
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    kinds = [kind for kind in (typing.get_args(annotation) if union else (annotation,)) if kind is not type(None)]
    if value.lower() == "none" or all(kind in (int, float, bool) or typing.get_origin(kind) for kind in kinds):
        return True
    if key == "device":
        return ":" not in value or value.startswith("cuda:")
    pattern = _MODEL if key in _MODELS else _WORD
    return str in kinds and bool(pattern.fullmatch(value)) and not os.path.exists(value)


def _inside(value: str, folder: Path) -> bool:
    """Tell whether a value is a file or folder of a folder, and no link leads out of it."""
    bare = value.removeprefix("local-dir:")
    path = folder / bare if bare.startswith("./") else Path(bare)
    inside = Path(os.path.realpath(folder))
    return (
        (path.is_absolute() or bare.startswith("./"))
        and path.exists()
        and Path(os.path.realpath(path)).is_relative_to(inside)
    )


def folders_of(items: Iterable[Item]) -> set[str]:
    """Return the folders of the files that items name."""
    found = set()
    for item in items:
        for name, reference in item.media.items():
            if name != "text":
                with suppress(BadMedia):
                    found.add(os.path.dirname(os.path.abspath(locate(reference)[0])))
    return found


class Reach:
    """The files that a collection's items may show: those below folders from which the user added to it.

    Args:
        collection: where it is.
        everything: whether all files may be shown, from now on.
    """

    def __init__(self, collection: str, *, everything: bool = False) -> None:
        self.everything = everything
        self.collection = collection if "://" in collection else os.path.realpath(collection)
        name = hashlib.sha256(self.collection.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        self._list = home() / "roots" / name
        self._roots: set[str] | None = None
        self._real: set[str] = set()
        self._seen = 0

    @property
    def roots(self) -> set[str]:
        """The folders."""
        if self._roots is None:
            self._roots = set()
            for file in self._list.glob("*.json"):
                match _read(file):
                    case [self.collection, str(root)]:
                        self._roots.add(root)
        return self._roots

    def add(self, folders: Iterable[str]) -> None:
        """Remember folders; those below a known one need no note of their own."""
        for each in sorted(set(folders), key=len):
            folder = os.path.dirname(each) if len(self.roots) >= _FOLDERS else each
            if self._below(each) or not folder:
                continue
            self.roots.add(folder)
            try:
                name = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:40]
                write_json(self._list / f"{name}.json", [self.collection, folder])
            except QuiverError as error:
                _doubt(str(self._list), str(error))

    def refuses(self, reference: str) -> str | None:
        """Say why the file of a reference is not read; None where it may be."""
        try:
            path = os.path.abspath(locate(reference)[0])
        except BadMedia as error:
            return str(error)
        if not self.holds(path) and self.everything:
            self.add([os.path.dirname(path), os.path.dirname(os.path.realpath(path))])
        if self.holds(path):
            return None
        return (
            f"{reference} is not read: you added no file of its folder here; if you trust the collection, use --trust"
        )

    def holds(self, path: str) -> bool:
        """Tell whether a file lies below a remembered folder, and does not lead out of it by a link."""
        return self._below(os.path.normpath(path)) and self._below(os.path.realpath(path), real=True)

    def _below(self, path: str, *, real: bool = False) -> bool:
        if real and self._seen != len(self.roots):
            self._seen = len(self.roots)
            self._real = {os.path.realpath(root) for root in self.roots}
        roots = self._real if real else self.roots
        while path not in roots:
            path, before = os.path.dirname(path), path
            if path == before:
                return False
        return True
