"""A TOML file that describes an evaluation of own questions, so that one word repeats it.

``quiver bench recall mine.toml``, with paths relative to the file::

    queries = "queries.csv"
    relevant = "qrels.csv"
    collection = "shop"                 # or items = ["photos"]
    target = "image"
    encoders = ["classic"]              # systems beside the collection
    measures = ["nDCG@10", "R@10"]

    [[plan]]                            # optional search settings, as in --plan
    index = ["exact", "auto"]

Options of the command line take precedence.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from quiver.benchmarks.recall.own_questions import Own
from quiver.engine.tasks import own_files
from quiver.errors import BadData, BadSpec

_COLUMNS = ("meta", "key", "media", "text", "image", "id_column", "path_column")
_KEYS = ("queries", "relevant", "collection", "items", "target", "answer", "encoders", "measures", "plan", *_COLUMNS)


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The contents of such a file.

    Attributes:
        queries: table or folder of queries.
        own: judgements and items.
        encoders: specs of encoders.
        measures: names of measures; empty for the default.
        planned: whether it lists search settings.
    """

    queries: str
    own: Own
    encoders: tuple[str, ...]
    measures: tuple[str, ...]
    planned: bool


def is_file(text: str) -> bool:
    """Whether a text names such a file."""
    return text.lower().endswith(".toml")


def read(path: str) -> OwnFile:
    """Read a file.

    Raises:
        BadData: it is missing, or is not TOML.
        BadSpec: a key is unknown or has a wrong type, or it names no queries.
    """
    try:
        content = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadData(f"cannot read {path}: {error}") from error
    if unknown := [key for key in content if key not in _KEYS]:
        near = get_close_matches(unknown[0], _KEYS, n=1)
        hint = f": did you mean {near[0]}?" if near else f"; the keys are {', '.join(_KEYS)}"
        raise BadSpec(f"{path} has an unknown key {unknown[0]}{hint}")
    base = os.path.dirname(os.path.abspath(os.path.expanduser(path)))
    queries = _text(content, "queries", path)
    if queries is None:
        raise BadSpec(f'{path} names no queries: write queries = "queries.csv"')
    collection, meta = _text(content, "collection", path), _text(content, "meta", path)
    columns = {name: _text(content, name, path) for name in _COLUMNS if name != "meta"}
    own = Own(
        relevant=[_below(base, each) for each in _texts(content, "relevant", path)],
        collection=None if collection is None else _below(base, collection),
        items=[_spec(base, each) for each in _texts(content, "items", path)],
        answer=_text(content, "answer", path) or "answer",
        columns={**columns, "meta": None if meta is None else _below(base, meta)},
        target=_text(content, "target", path),
    )
    encoders, measures = _texts(content, "encoders", path), _texts(content, "measures", path)
    return OwnFile(_below(base, queries), own, encoders, measures, "plan" in content)


def merged(file: Own, given: Own) -> Own:
    """Return the settings of a file, with those given on the command line in their place."""
    plain = Own()
    named = {
        name: value
        for name in ("relevant", "collection", "items", "answer", "target", "trust")
        if (value := getattr(given, name)) != getattr(plain, name)
    }
    if "items" in named or "collection" in named:
        named = {"items": (), "collection": None, **named}
    columns = {**file.columns, **{name: value for name, value in given.columns.items() if value is not None}}
    return replace(file, columns=columns, **named)


def _text(content: Mapping[str, Any], key: str, path: str) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise BadSpec(f"{path}: {key} is a text, not {value!r:.80}")
    return value


def _texts(content: Mapping[str, Any], key: str, path: str) -> tuple[str, ...]:
    value = content.get(key, ())
    values: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        raise BadSpec(f"{path}: {key} is a text or a list of texts, not {value!r:.80}")
    return tuple(values)


def _below(base: str, path: str) -> str:
    return path if "://" in path else os.path.join(base, os.path.expanduser(path))


def _spec(base: str, spec: str) -> str:
    """Return a spec of files with its path below the folder of the TOML file."""
    whole = _below(base, spec)
    if own_files.is_path(whole):
        return whole
    path, options = own_files.split(spec)
    return own_files.with_options(_below(base, path), options) if options else whole
