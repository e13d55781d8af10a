"""The adding side of a collection: add and add_vectors, with every keyword written out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiver.errors import BadSpec
from quiver.protocols import Encoder
from quiver.types import Item, Metric

if TYPE_CHECKING:  # readers of tables and media are imported by the first add, so that searches start sooner
    from quiver.engine.changes import Changes
    from quiver.engine.ingest.options import VectorOptions
    from quiver.engine.ingest.report import Report


class Adding(ABC):
    """The adds of a collection."""

    @property
    @abstractmethod
    def _changes(self) -> "Changes":
        """The writing side."""

    def add(
        self,
        *sources: str | Path | Item | Mapping[str, Any] | Iterable[Any],
        encoder: str | Encoder | Sequence[str | Encoder] = (),
        meta: Any = None,
        key: str | None = None,
        media: str | None = None,
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        video: str | None = None,
        before: str | None = None,
        after: str | None = None,
        id_column: str | None = None,
        path_column: str | None = None,
        window: float | None = None,
        stride: float | None = None,
        tell: bool | str = False,
        caption_column: str | None = None,
        beams: int | None = None,
        devices: str | Sequence[str] | None = None,
        vectors: Any = None,
        ids: Sequence[str] | None = None,
        space: str | None = None,
        of: str | None = None,
        metric: Metric = "cosine",
        sync: bool = False,
        prune: bool = False,
        expect: int | None = None,
        workers: int | None = None,
        max_seconds: float | None = None,
        max_memory: int | str | None = None,
        max_pixels: int | None = None,
        progress: bool | None = None,
    ) -> "Report":
        """Add items: files, rows from memory, or ready-made vectors; or embed the stored items with another encoder.

        ``add("photos")`` adds a folder; ``add([{"id": "a", "image": "a.jpg", "price": 3}])`` and ``add(frame)`` add
        rows; ``add(vectors=array, ids=[...], meta=frame, space="mine")`` adds vectors; ``add(encoder="...")`` embeds
        the stored items.

        Args:
            sources: folders, files, globs, manifests (CSV, TSV, JSONL, Parquet), webdataset tars; Items; or rows:
                dicts, a mapping of columns, an Arrow table, a pandas or polars frame, or an iterator of these, which is
                read block by block. Relative paths in rows start from the working directory.
            encoder: spec or specs, such as ``"timm model=mobilenetv2_100"``; or objects that meet
                ``quiver.protocols.Encoder`` and have the attributes ``name`` and ``revision``: later processes give
                such an object again by ``use``. By default the encoders of the collection, or ``classic``.
            meta: table of metadata to join to the files; with ``vectors``, metadata of each vector, in order.
            key: column of that table with the file names; by default it is found by its content.
            media: keys to take (``"video"``), and columns of media (``"audio=sound,text=caption"``).
            text: column of the items' text.
            image: column of the items' image files.
            audio: column of the items' audio files.
            video: column of the items' video files.
            before: column of the first image of a pair.
            after: column of the second image of a pair.
            id_column: column of ids; by default ``id`` if its values are unique. ``none`` makes ids from paths.
            path_column: column of file paths, of any medium; by default it is found by its name.
            window: split videos and sounds into windows of so many seconds; each is an item such as
                ``long.mp4#t=10,20`` with the metadata film (id of the film), start and end (seconds). The last window
                is moved back to end with the film; nothing is padded.
            stride: seconds from the start of a window to the next; by default ``window``: no overlap.
            tell: describe the added items in words by a model, as the spec of an encoder, such as
                ``"transformers model=florence-community/Florence-2-base"``; True for an encoder of this add that
                describes, or the model that the collection used before. Without sources and encoders, all stored items
                are described. Captions are metadata that full-text search reads. They are committed in batches; a
                current caption is not written again, and a caption that a user wrote or changed is kept.
            caption_column: with ``tell``, the metadata column of captions: ``caption``, or another that is new.
            beams: with ``tell``, width of the beam search; 1, greedy decoding, by default.
            devices: devices that embed, each a part of every batch, such as ``["cuda:0", "cuda:1"]``; by default the
                one that each encoder chooses.
            vectors: ready-made vectors, (n, dim) numbers or a file; with rows, the name of their column of vectors
                (``vector`` by default).
            ids: with an array of vectors, an id for each row.
            space: name of the space of ready-made vectors.
            of: with ``space``, the embedded medium: text, image, audio, video or pair; by default image.
            metric: with ``space``, how vectors are compared: cosine, dot or l2.
            sync: list stored items whose files are gone from the folders, tables and tars that are added.
            prune: delete those items too; those of an emptied folder, table or tar only with ``expect``.
            expect: with ``prune``, the number of items that are gone; another number is refused.
            workers: number of decoding processes; by default one less than the cores, at most 8. 0 decodes in this
                process, without limits.
            max_seconds: longest time to decode one item (120 s).
            max_memory: memory limit for decoding one item, in bytes or as ``8GB``.
            max_pixels: pixel limit of a decoded picture (268 million).
            progress: whether to show a progress bar; by default if standard error is a terminal.

        Returns:
            A report of added, updated, skipped and quarantined items.

        Raises:
            BadData: a source cannot be read, a value of a row cannot be stored (the message names row and column), or
                metadata do not fit; of a stream, earlier blocks are stored then.
            BadSpec: an argument is invalid, or two contradict each other.
            MissingWeights: the weights of an encoder are not on this machine.
        """
        from quiver.engine.changes import Ready, Tables
        from quiver.engine.ingest.options import AddOptions
        from quiver.engine.tasks import own_files

        named = {"text": text, "image": image, "audio": audio, "video": video, "before": before, "after": after}
        media = own_files.columns(media, named)
        if space is not None or vectors is not None:
            without = {"encoder": encoder, "key": key, "path_column": path_column, "sync": sync}
            _refuse(
                "space= adds ready-made vectors", **without, window=window, stride=stride, tell=tell, devices=devices
            )
            if space is None:
                raise BadSpec("ready-made vectors need the name of their space, such as space='mine'")
            given = _vectors(sources, vectors)
            column = vectors if sources and isinstance(vectors, str) else None
            ready = Ready(space, ids, of, metric, meta, media)
            return self._changes.add_vectors(
                given, ready, _given(column=column, id_column=id_column, progress=progress)
            )
        _refuse("space= is missing, the name of the space of ready-made vectors", ids=ids, of=of)
        options = AddOptions(
            workers=workers,
            progress=progress,
            max_seconds=max_seconds,
            max_memory=max_memory,
            max_pixels=max_pixels,
            sync=sync,
            prune=prune,
            expect=expect,
            id_column=id_column,
            path_column=path_column,
            window=window,
            stride=stride,
            tell=tell,
            caption_column=caption_column,
            beams=beams,
            devices=devices,
        )
        if meta is not None and not isinstance(meta, str | Path):
            raise BadSpec(
                "meta is the path of a table to join to files; rows in memory are added by themselves: add(frame)"
            )
        return self._changes.add(sources, encoder, Tables(meta, key, media), options)

    def add_vectors(
        self,
        vectors: Any,
        *,
        space: str,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        metric: Metric = "cosine",
        meta: Any = None,
        column: str | None = None,
        id_column: str | None = None,
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        video: str | None = None,
        progress: bool | None = None,
    ) -> "Report":
        """Add ready-made vectors: an array, rows, or files (npy, npz, Parquet, or a folder of them).

        An item with a stored id gets the new vector and metadata.

        Args:
            vectors: (n, dim) numbers; the path of a file or folder; or rows with a column of vectors, as ``add`` takes
                them.
            space: name of the space of the vectors.
            ids: an id for each row of an array; by default the column ``id`` of ``meta``. Ids of files and rows come
                from their column ``id``, or row numbers of files.
            key: the embedded medium: text, image, audio, video or pair. By default image; for a folder of
                clip-retrieval, image and text if both are there.
            metric: how vectors are compared: cosine, dot or l2.
            meta: metadata of each vector, in order. For an array a mapping of columns, a list of dicts, or a data
                frame (pyarrow, pandas, polars); for files the path of a table.
            column: the vectors to read from rows or from a file with several arrays: name of a column (rows:
                ``vector`` by default), or of an array of an npz; or ``img_emb`` or ``text_emb`` of a folder of
                clip-retrieval.
            id_column: column of ids of rows or of a table; by default ``id`` or ``key`` if its values are unique.
                ``none`` makes ids from file names and row numbers.
            text: column of the items' text, of rows or of ``meta`` in memory.
            image: column of their image files.
            audio: column of their audio files.
            video: column of their video files.
            progress: whether to show a progress bar; by default if standard error is a terminal.

        Raises:
            BadData: vectors or metadata cannot be read, or the space has another dimension or metric.
            BadSpec: ids are missing or not unique, numbers of rows differ, or a name is invalid.
        """
        from quiver.engine.changes import Ready
        from quiver.engine.tasks import own_files

        media = own_files.columns(None, {"text": text, "image": image, "audio": audio, "video": video})
        options = _given(column=column, id_column=id_column, progress=progress)
        return self._changes.add_vectors(vectors, Ready(space, ids, key, metric, meta, media), options)


def _given(**options: Any) -> "VectorOptions":
    from quiver.engine.ingest.options import VectorOptions

    return VectorOptions(**{name: value for name, value in options.items() if value is not None})  # type: ignore[typeddict-item]


def _vectors(sources: Sequence[Any], vectors: Any) -> Any:
    """Return the ready-made vectors of an add: an array, a file, or rows.

    Raises:
        BadSpec: there are none, or several.
    """
    if not sources and vectors is not None:
        return vectors
    if len(sources) != 1 or (vectors is not None and not isinstance(vectors, str)):
        raise BadSpec(
            "give vectors=array, or one source with ready-made vectors: a file, or rows and the name of their column,"
            " as in add(rows, vectors='embedding', space='mine')"
        )
    return sources[0]


def _refuse(why: str, **without: Any) -> None:
    """Refuse arguments that would have no effect.

    Raises:
        BadSpec: one was given.
    """
    for name, value in without.items():
        if not (value is None or value is False or value == ()):
            raise BadSpec(f"{name}= has no effect here: {why}")
