"""Features of frozen encoders, computed once and kept on disk."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from quiver.encoders import _fingerprint, _frozen
from quiver.encoders._frozen import Frozen
from quiver.encoders._train.rank import turns
from quiver.encoders._train.reading import QUARANTINE, attempt, identity, quarantine
from quiver.files import write_arrays
from quiver.types import Floats

Mask = NDArray[np.bool_]

#: References per file of the cache; an interruption costs this many at most.
BLOCK = 512
#: References decoded, then embedded, together.
AT_ONCE = 32


def extract(spec: str, key: str, refs: Sequence[Any], *, cache: Path | None) -> tuple[Floats, Mask]:
    """Embed references with a frozen encoder.

    Work is kept in blocks, named by the encoder's revision and by the references (files with their size and time of
    change), so that the same call continues after an interruption. Ranks start at different blocks and share them.

    Args:
        spec: of an encoder, such as ``"timm model=resnet50"``; several joined by " + " have their vectors joined.
            Of an encoder with several spaces the first is taken, the finest one.
        key: one of KEYS.
        refs: n references, inputs of the encoder's reader: paths, texts, (before, after).
        cache: a folder; None keeps nothing.

    Returns:
        (n, dim) float32, and (n,) bool: False where a reference cannot be decoded. Such a row is zero, and its
        reason is in ``cache/quarantine.jsonl``.

    Raises:
        BadSpec: unknown encoder, or one that does not embed the key.
    """
    source = _frozen.open(spec, key)
    places = [slice(start, start + BLOCK) for start in range(0, len(refs), BLOCK)]
    blocks: dict[int, tuple[Floats, Mask]] = {}
    with tqdm(total=len(refs), unit=" items", desc=f"{spec} {key}", disable=None) as bar:
        for number in turns(len(places)):
            blocks[number] = _block(source, spec, refs[places[number]], cache)
            bar.update(len(blocks[number][1]))
    rows = np.concatenate([np.empty((0, source.width), np.float32), *(blocks[n][0] for n in range(len(places)))])
    mask = np.concatenate([np.empty(0, bool), *(blocks[n][1] for n in range(len(places)))])
    if not mask.all():
        where = f": see {cache / QUARANTINE}" if cache else ""
        lost = f"{len(mask) - mask.sum():,} of {len(mask):,} {key} references cannot be read"
        print(f"note: {lost}{where}", file=sys.stderr)
    return rows, mask


def _block(source: Frozen, spec: str, refs: Sequence[Any], cache: Path | None) -> tuple[Floats, Mask]:
    if cache is None:
        rows, mask, _ = _embed(source, refs)
        return rows, mask
    from safetensors.numpy import load_file

    path = cache / f"{_name(source, refs)}.safetensors"
    if path.exists():
        held = load_file(path)
        return held["rows"], held["mask"]
    rows, mask, reasons = _embed(source, refs)
    lines = [
        {"ref": _plain(refs[row]), "reason": reason, "key": source.key, "spec": spec}
        for row, reason in sorted(reasons.items())
    ]
    quarantine(cache, lines)
    write_arrays(path, {"rows": rows, "mask": mask})
    return rows, mask


def _embed(source: Frozen, refs: Sequence[Any]) -> tuple[Floats, Mask, dict[int, str]]:
    """Return rows, mask, and the reason by row for those that cannot be decoded."""
    reasons: dict[int, str] = {}
    columns = []
    for encoder, space in source.parts:
        rows = np.zeros((len(refs), space.dim), np.float32)
        for start, decoded in _decoded(encoder.reader(source.key), refs):
            good = [place for place, (_, reason) in enumerate(decoded) if not reason]
            reasons |= {start + place: reason for place, (_, reason) in enumerate(decoded) if reason}
            if good:
                batch = [decoded[place][0] for place in good]
                rows[[start + place for place in good]] = encoder.embed(source.key, batch, space)
        columns.append(rows)
    joined = np.concatenate(columns, axis=1)
    mask = np.ones(len(refs), bool)
    mask[list(reasons)] = False
    joined[~mask] = 0
    return joined, mask, reasons


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
    return _fingerprint.of_parts(source.key, *source.named, *(_print(ref, source.key) for ref in refs))


def _print(ref: Any, key: str) -> str:
    """Identify a reference: a file by path, size and time of change, anything else by its content."""
    if isinstance(ref, list | tuple):
        return json.dumps([_print(each, key) for each in ref])
    if isinstance(ref, bytes):
        return hashlib.sha256(ref).hexdigest()
    if isinstance(ref, np.ndarray):
        return f"{ref.dtype} {ref.shape} {hashlib.sha256(np.ascontiguousarray(ref).data).hexdigest()}"
    if key == "text":
        return str(ref)
    return identity(str(ref))


def _plain(ref: Any) -> Any:
    if isinstance(ref, list | tuple):
        return [_plain(each) for each in ref]
    return ref if isinstance(ref, str) else str(ref)[:200]
