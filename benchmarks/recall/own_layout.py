"""Evaluation data in the folder layouts of BEIR and MTEB: corpus, queries, and judgements by split.

BEIR: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv`` (https://github.com/beir-cellar/beir). MTEB: the same as
JSON lines, or as Parquet in folders ``corpus``, ``queries`` and ``qrels`` or ``data``, one file or several shards,
whose pictures and sounds lie in the tables; they are written to files once.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.engine.source.place import Place
from quiver.engine.source.queries import IDS
from quiver.engine.source.table import SUFFIXES, open_table
from quiver.errors import BadData, BadSpec
from quiver.files import cache_home, staged, write_bytes
from quiver.types import Item

_FILES = ("image", "audio", "video")
_QRELS = ("qrels", "data", "default", "test_qrels")
_ENDS = {"image": ".png", "audio": ".wav", "video": ".mp4"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a folder.

    Attributes:
        corpus: the table of items.
        queries: the table of queries.
        relevant: the file of judgements.
    """

    corpus: str
    queries: str
    relevant: str


def is_layout(text: str) -> bool:
    """Whether a text names a folder with a corpus and queries."""
    folder = _split(text)[0]
    return os.path.isdir(folder) and bool(_parts(folder, "queries")) and bool(_parts(folder, "corpus"))


def find(text: str) -> Layout:
    """Return the files of a folder; ``"folder split=dev"`` names a split other than test.

    Raises:
        BadData: it has no judgements of this split.
    """
    folder, split = _split(text)
    splits = _splits(folder)
    chosen = split or ("test" if "test" in splits or len(splits) != 1 else next(iter(splits)))
    if chosen not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise BadData(f'{folder} has no judgements of split {chosen}: there are {there}; write "{folder} split=NAME"')
    relevant = splits[chosen]
    if len(relevant) > 1:
        raise BadData(f"{folder}: the judgements of {chosen} lie in {len(relevant)} files, such as {relevant[0]}")
    return Layout(_table(folder, "corpus"), _table(folder, "queries"), relevant[0])


def items(path: str) -> list[Item]:
    """Read a corpus: its media, where a text begins with its title, as in BEIR and MTEB.

    Raises:
        BadData: it has no ids, no media, or an id twice.
    """
    import pyarrow as pa

    table = open_table(path)
    names = table.schema.names
    id = next((name for name in IDS if name in names), None)
    media = [name for name in ("text", *_FILES) if name in names]
    if id is None or not media:
        raise BadData(f"{path}: a corpus has columns _id (or id) and text or image; its columns are {', '.join(names)}")
    title = "title" if "title" in names and "text" in media else None
    wanted = [id, *media, *([title] if title else [])]
    found: dict[str, Item] = {}
    place = Place.of(path)

    def report(where: str, reason: str) -> None:
        raise BadData(f"{path}: {reason}")

    for batch in table.read(pa.schema([(name, pa.string()) for name in wanted]), report):
        for row in batch.to_pylist():
            held = {name: row[name] for name in media if row[name]}
            held |= {name: place.absolute(held[name]) for name in _FILES if name in held}
            if title and row[title]:
                held["text"] = f"{row[title]} {held.get('text', '')}".strip()
            if row[id] in found:
                raise BadData(f"{path}: id {row[id]!r} occurs twice")
            found[row[id]] = Item(row[id], held)
    return list(found.values())


def _split(text: str) -> tuple[str, str]:
    """Split a spec into the folder and the name of a split."""
    plain = os.path.expanduser(text)
    if os.path.isdir(plain):
        return plain, ""
    try:
        path, options = registry.split(text)
    except BadSpec:
        return plain, ""
    return os.path.expanduser(path), options.get("split", "")


def _parts(folder: str, name: str) -> list[str]:
    """Return the files of one table: ``name.jsonl``, or the files of a folder ``name``."""
    alone = [path for suffix in SUFFIXES if os.path.isfile(path := os.path.join(folder, name + suffix))]
    below = sorted(path for path in glob(os.path.join(escape(folder), name, "*")) if path.endswith(SUFFIXES))
    return alone[:1] or below


def _splits(folder: str) -> dict[str, list[str]]:
    """Return the files of judgements by split."""
    found: dict[str, list[str]] = {}
    for name in _QRELS:
        for path in sorted(glob(os.path.join(escape(folder), name, "*"))):
            if path.endswith((*SUFFIXES, ".txt", ".json", ".qrels", ".trec")):
                split = os.path.basename(path).partition(".")[0].partition("-0")[0]
                found.setdefault(split, []).append(path)
        if found:
            return found
    alone = [path for path in glob(os.path.join(escape(folder), "qrels.*")) if os.path.isfile(path)]
    return {"test": alone[:1]} if alone else {}


def _table(folder: str, name: str) -> str:
    """Return one table of a folder; Parquet is unpacked, so that its pictures and sounds are files."""
    paths = _parts(folder, name)
    if not paths[0].endswith((".parquet", ".pq")):
        if len(paths) > 1:
            raise BadData(f"{folder}: {name} lies in {len(paths)} files, such as {paths[0]}: join them in one")
        return paths[0]
    state = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    place = cache_home() / "unpacked" / key
    target = place / f"{name}.jsonl"
    if not target.exists():
        place.mkdir(parents=True, exist_ok=True)
        with staged(target) as draft, draft.open("w", encoding="utf-8") as file:
            for row in _rows(paths, str(place)):
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    return str(target)


def _rows(paths: Sequence[str], folder: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of Parquet files, with media of bytes written to files."""
    import pyarrow.parquet as pq

    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                for row in batch.to_pylist():
                    yield {name: _written(name, value, folder) for name, value in row.items() if value is not None}


def _written(name: str, value: Any, folder: str) -> Any:
    """Write the bytes of a picture or sound to a file named by its hash, and return its path."""
    if name not in _FILES or not isinstance(value, dict) or value.get("bytes") is None:
        return value.get("path") if name in _FILES and isinstance(value, dict) else value
    suffix = os.path.splitext(value.get("path") or "")[1] or _ENDS[name]
    path = os.path.join(folder, hashlib.sha256(value["bytes"]).hexdigest()[:24] + suffix)
    if not os.path.exists(path):
        write_bytes(Path(path), value["bytes"])
    return path
