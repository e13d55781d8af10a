"""Features of frozen encoders, computed once and kept on disk."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _fingerprint, _frozen
from quiver.encoders._frozen import Frozen
from quiver.encoders._train.progress import Progress
from quiver.encoders._train.reading import QUARANTINE, attempt, identity, quarantine, reason
from quiver.encoders._train.sharing import divided
from quiver.errors import BadMedia
from quiver.files import write_arrays, writing
from quiver.types import Floats

Mask = NDArray[np.bool_]

#: References per file of the cache; an interruption costs this many at most.
BLOCK = 512
#: Bytes of features from which they are mapped from disk instead of held in memory.
MAPPED = 256 << 20
#: References decoded, then embedded, together.
AT_ONCE = 32


def extract(spec: str, key: str, refs: Sequence[Any], *, cache: Path | None) -> tuple[Floats, Mask]:
    """Embed references with a frozen encoder.

    Work is kept in blocks, named by the encoder's revision and by the references (files with their size and time of
    change), so that the same call continues after an interruption. Ranks share the blocks, each on its own device.

    Args:
        spec: of an encoder, such as ``"timm model=resnet50"``; several joined by " + " have their vectors joined.
            Of an encoder with several spaces the first is taken, the finest one.
        key: one of KEYS.
        refs: n references, inputs of the encoder's reader: paths, texts, (before, after).
        cache: a folder; None keeps nothing.

    Returns:
        (n, dim) float32, and (n,) bool: False where a reference cannot be decoded. Such a row is zero, and its
        reason is in ``cache/quarantine.jsonl``. Rows of ``MAPPED`` bytes and more are mapped from one file, read-only,
        which ranks share; it takes their size on disk once more.

    Raises:
        BadSpec: unknown encoder, or one that does not embed the key.
    """
    source = _frozen.open(spec, key)
    places = [slice(start, start + BLOCK) for start in range(0, len(refs), BLOCK)]
    blocks: dict[int, tuple[Floats, Mask]] = {}
    fresh = set[int]()
    paths = [None if cache is None else cache / f"{_name(source, refs[place])}.safetensors" for place in places]

    def done(number: int) -> bool:
        path = paths[number]
        return path is not None and path.exists()

    def work(number: int) -> None:
        made = _block(source, spec, refs[places[number]], paths[number], progress)
        fresh.add(number)
        if paths[number] is None:
            blocks[number] = made

    with Progress(f"{spec} {key}", len(refs), unit="items") as progress:
        for number in divided(len(places), done=done, work=work, folder=cache and cache / "locks"):
            if number not in fresh:  # by an earlier process, or by another rank
                progress.skip(len(refs[places[number]]))
    whole = (blocks[number] if number in blocks else _kept(path) for number, path in enumerate(paths))
    if cache is not None and len(refs) * source.width * 4 >= MAPPED:
        name = _fingerprint.of_parts(*(path.stem for path in paths if path is not None))
        rows, mask = _mapped(whole, cache / f"rows-{name}", shape=(len(refs), source.width))
    else:
        parts = list(whole)
        rows = np.concatenate([np.empty((0, source.width), np.float32), *(rows for rows, _ in parts)])
        mask = np.concatenate([np.empty(0, bool), *(mask for _, mask in parts)])
    if not mask.all():
        where = f": see {cache / QUARANTINE}" if cache else ""
        lost = f"{len(mask) - mask.sum():,} of {len(mask):,} {key} references cannot be read"
        print(f"note: {lost}{where}", file=sys.stderr)
    return rows, mask


def _mapped(blocks: Iterable[tuple[Floats, Mask]], folder: Path, *, shape: tuple[int, int]) -> tuple[Floats, Mask]:
    """Join blocks in a file, unless that was done, and map it; one rank writes."""

    def write(_: int) -> None:
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        rows = np.lib.format.open_memmap(part / "rows.npy", "w+", np.float32, shape)
        masks, start = list[Mask](), 0
        for block, mask in blocks:
            rows[start : start + len(block)] = block
            masks.append(mask)
            start += len(block)
        rows.flush()
        np.save(part / "mask.npy", np.concatenate(masks))
        part.rename(folder)

    with writing(folder):
        for _ in divided(1, done=lambda _: folder.is_dir(), work=write, folder=folder.parent / "locks"):
            pass
    return np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "mask.npy")


def _block(
    source: Frozen, spec: str, refs: Sequence[Any], path: Path | None, progress: Progress
) -> tuple[Floats, Mask]:
    """Embed a block, and keep it at a path if there is one."""
    rows, mask, reasons = _embed(source, refs, progress)
    if path is not None:
        lines = [
            {"ref": plain(refs[row]), "reason": why, "key": source.key, "spec": spec}
            for row, why in sorted(reasons.items())
        ]
        quarantine(path.parent, lines)
        write_arrays(path, {"rows": rows, "mask": mask})
    return rows, mask


def _kept(path: Path | None) -> tuple[Floats, Mask]:
    from safetensors.numpy import load_file

    held = load_file(cast(Path, path))
    return held["rows"], held["mask"]


def _embed(source: Frozen, refs: Sequence[Any], progress: Progress) -> tuple[Floats, Mask, dict[int, str]]:
    """Return rows, mask, and the reason by row for those that cannot be decoded."""
    reasons: dict[int, str] = {}
    columns = []
    for number, (encoder, space) in enumerate(source.parts):
        rows = np.zeros((len(refs), space.dim), np.float32)
        for start, decoded in _decoded(encoder.reader(source.key), refs):
            good = [place for place, (_, why) in enumerate(decoded) if not why]
            reasons |= {start + place: why for place, (_, why) in enumerate(decoded) if why}
            batch = [decoded[place][0] for place in good]
            found, refused = embed_each(partial(encoder.embed, source.key, space=space), batch)
            reasons |= {start + good[place]: why for place, why in refused.items()}
            for place, row in found.items():
                rows[start + good[place]] = row
            progress.update(len(decoded) if number == len(source.parts) - 1 else 0)
        columns.append(rows)
    joined = np.concatenate(columns, axis=1)
    mask = np.ones(len(refs), bool)
    mask[list(reasons)] = False
    joined[~mask] = 0
    return joined, mask, reasons


def embed_each(embed: Callable[[list[Any]], Floats], batch: list[Any]) -> tuple[dict[int, Floats], dict[int, str]]:
    """Embed a batch; if its encoder refuses it, one by one, so that one damaged input does not cost the others.

    Returns:
        Rows by place, and reasons by place of what is refused, such as a sound of which a vector is not finite.
    """
    if not batch:
        return {}, {}
    try:
        return dict(enumerate(embed(batch))), {}
    except BadMedia:
        found, refused = {}, {}
    for place, each in enumerate(batch):
        try:
            found[place] = embed([each])[0]
        except BadMedia as error:
            refused[place] = reason(error)
    return found, refused


def _decoded(reader: Callable[[Any], Any], refs: Sequence[Any]) -> Iterator[tuple[int, list[tuple[Any, str]]]]:
    """Yield (place of the first, (decoded, reason) each), one chunk decoded in threads ahead of the consumer."""
    starts = range(0, len(refs), AT_ONCE)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        chunks = (
            [[pool.submit(attempt, reader, ref) for ref in refs[starts[0] : starts[0] + AT_ONCE]]] if starts else []
        )
        for start in starts:
            chunks.append([pool.submit(attempt, reader, ref) for ref in refs[start + AT_ONCE : start + 2 * AT_ONCE]])
            yield start, [future.result() for future in chunks.pop(0)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _name(source: Frozen, refs: Sequence[Any]) -> str:
    return _fingerprint.of_parts(source.key, *source.named, *(identified(ref, source.key) for ref in refs))


def identified(ref: Any, key: str) -> str:
    """Identify a reference: a file by path, size and time of change, anything else by its content."""
    if isinstance(ref, list | tuple):
        return json.dumps([identified(each, key) for each in ref])
    if isinstance(ref, bytes):
        return hashlib.sha256(ref).hexdigest()
    if isinstance(ref, np.ndarray):
        return f"{ref.dtype} {ref.shape} {hashlib.sha256(np.ascontiguousarray(ref).data).hexdigest()}"
    if key == "text":
        return str(ref)
    return identity(str(ref))


def plain(ref: Any) -> Any:
    """Return a reference as JSON may hold it: texts as they are, pairs as lists, anything else cut short."""
    if isinstance(ref, list | tuple):
        return [plain(each) for each in ref]
    return ref if isinstance(ref, str) else str(ref)[:200]
