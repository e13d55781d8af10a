"""The whole engine as mteb's ``SearchProtocol``: a collection indexes the corpus, and its searches are measured."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import quiver
from quiver.benchmarks.mteb import media
from quiver.benchmarks.mteb.model_meta import meta
from quiver.benchmarks.recall.slug import slug
from quiver.engine.core.encoder import load
from quiver.errors import BadSpec, NoRoute, optional
from quiver.types import KEYS, Item, Query

#: Items that are written and added together, and queries that are searched together.
_ADDED, _ASKED = 1024, 256
_SUFFIX = {"image": ".png", "audio": ".wav"}


class QuiverSearch:
    """A collection for mteb's retrieval and reranking tasks.

    Each corpus gets a collection of its own, with all encoders; its searches are those of ``Collection.search``.

    Args:
        encoders: specs of the encoders; a reranker ranks what the others recall.
        folder: where the collections lie, and stay for another run; None for a folder that is removed in the end.
        index: spec of an index to build, such as ``"faiss factory=HNSW32"``; None for exact search.
        recall: recall target of the index.
        options: arguments of ``Query`` for all queries, such as ``{"scorer": "none", "hybrid": True}``.

    Attributes:
        mteb_model_meta: mteb's description of the system.
    """

    def __init__(
        self,
        encoders: str | Sequence[str],
        *,
        folder: str | Path | None = None,
        index: str | None = None,
        recall: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.specs = [encoders] if isinstance(encoders, str) else list(encoders)
        if not self.specs:
            raise BadSpec("give at least one --encoder: a collection needs one to embed the corpus")
        self.index_spec, self.recall, self.options = index, recall, dict(options or {})
        self._temporary = tempfile.TemporaryDirectory(prefix="quiver-mteb-") if folder is None else None
        self.folder = Path(self._temporary.name if self._temporary is not None else str(folder))
        loaded = [load(spec) for spec in self.specs]
        spaces = [space for each in loaded for key in each.encoder.keys for space in each.encoder.spaces(key)]
        keys = {key for each in loaded for key in each.encoder.keys}
        keys |= {name for each in loaded for scorer in each.scorers for name in scorer.holds}
        name = " + ".join([*self.specs, *([index] if index else [])])
        self.mteb_model_meta = meta(
            f"engine {name}",
            "-".join(dict.fromkeys(space.revision[:8] for space in spaces)),
            metric=None,
            kind="hybrid",
            modalities=sorted(keys),
            dim=None,
        )
        self.collection: quiver.Collection | None = None

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Any = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a corpus to its collection, and build the index.

        Raises:
            NoRoute: no encoder embeds the documents.
        """
        del encode_kwargs, num_proc, kwargs
        name = f"{task_metadata.name} {hf_subset} {hf_split}"
        place = self.folder / slug(name, name, *self.specs, _fingerprint(corpus))
        self.collection = quiver.open(place / "collection", catch_up=False)
        keys = _keys(task_metadata, "document", corpus)
        if not any(key in load(spec).encoder.keys for spec in self.specs for key in keys):
            raise NoRoute(
                f"{' + '.join(self.specs)} embeds no {' or '.join(keys)}, which {task_metadata.name} searches"
            )
        files = place / "media"
        files.mkdir(parents=True, exist_ok=True)
        for items in _items(corpus, keys, files):
            self.collection.add(*items, encoder=self.specs, progress=False)
        if bad := self.collection.info()["quarantine"]:
            raise BadSpec(
                f"{len(bad)} of {len(corpus)} documents cannot be added, such as {bad[0]['id']}: {bad[0]['reason']}"
            )
        self.target = next(key for key in (*(k for k in keys if k != "text"), *keys) if key in KEYS)
        if self.index_spec is not None or self.recall is not None:
            self.collection.index(self.index_spec, recall=self.recall)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Any = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Search with every query; returns score by document id, by query id.

        Raises:
            BadSpec: nothing has been indexed.
        """
        del encode_kwargs, num_proc, kwargs, hf_split, hf_subset
        if self.collection is None:
            raise BadSpec("index a corpus before searching it")
        keys = _keys(task_metadata, "query", queries)
        found: dict[str, dict[str, float]] = {}
        for start in range(0, len(queries), _ASKED):
            rows = [queries[n] for n in range(start, min(start + _ASKED, len(queries)))]
            asked = [self._query(row, keys, task_metadata, top_k, top_ranked) for row in rows]
            able = [n for n, query in enumerate(asked) if query is not None]
            results = self.collection.search_batch([query for query in asked if query is not None])
            found |= {str(row["id"]): {} for row in rows}
            for n, hits in zip(able, results, strict=True):
                found[str(rows[n]["id"])] = {hit.id: float(hit.score) for hit in hits}
        return found

    def _query(
        self, row: Mapping[str, Any], keys: Sequence[str], task_metadata: Any, top_k: int, top_ranked: Any
    ) -> Query | None:
        """Return a query; None if a reranking task has no candidates for it."""
        held = dict(row)
        if isinstance(held.get("text"), str) and held.get("instruction"):
            held["text"] = f"{held['text']} {held['instruction']}"
        asked = media.given({key: held.get(key) for key in keys})
        candidates = None if top_ranked is None else tuple(map(str, top_ranked.get(row["id"], ())))
        if candidates is not None and not candidates:
            return None
        k = top_k if candidates is None else max(len(candidates), 1)
        return Query(asked, target=self.target, k=k, candidates=candidates, **self.options)


def _keys(task_metadata: Any, side: str, rows: Any) -> list[str]:
    """Return the modalities of queries or documents, as the task states them and the data has them."""
    with optional():
        from mteb.types import PromptType
    stated = task_metadata.get_modalities(getattr(PromptType, side))
    return [key for key in media.MODALITIES if key in stated and key in rows.column_names]


def _items(corpus: Any, keys: Sequence[str], folder: Path) -> Iterator[list[Item]]:
    """Yield documents as items, many at a time; their pictures and sounds are written to files."""
    for start in range(0, len(corpus), _ADDED):
        rows = [corpus[n] for n in range(start, min(start + _ADDED, len(corpus)))]
        yield [Item(str(row["id"]), _stored(start + n, row, keys, folder)) for n, row in enumerate(rows)]


def _stored(number: int, row: Mapping[str, Any], keys: Sequence[str], folder: Path) -> dict[str, str]:
    held: dict[str, str] = {}
    for key in keys:
        if row.get(key) is None:
            continue
        if key == "text":
            held["text"] = f"{row.get('title') or ''} {row['text']}".strip()
        elif key != "image" and isinstance(file := media.stored(row[key]), str):
            held[key] = file
        elif key in _SUFFIX:
            path = folder / f"{number}{_SUFFIX[key]}"
            if not path.exists():
                _write(path, key, row[key])
            held[key] = str(path)
        else:
            raise BadSpec(f"the engine stores no frames: measure {key} with the encoder alone, without --collection")
    return held


def _write(path: Path, key: str, value: Any) -> None:
    """Write a picture or sound without loss."""
    from quiver.files import staged

    with staged(path) as draft:
        if key == "image":
            from PIL import Image

            Image.fromarray(media.picture(value)).save(draft, "PNG")
        else:
            draft.write_bytes(media.sound(value))


def _fingerprint(corpus: Any) -> str:
    return str(getattr(corpus, "_fingerprint", "")) or os.urandom(8).hex()
