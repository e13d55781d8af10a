"""Frozen encoders beneath a trained model: their vectors side by side, and their files in the model's folder.

A spec names one encoder, or several joined by `` + ``. A saved model must work wherever its folder is moved, so
``keep`` copies the files that a spec names into the folder, and ``placed`` finds them again.
Shapes: n things, W width of the vectors together.
"""

import inspect
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quiver import files, registry, trust
from quiver.encoders import _fingerprint
from quiver.errors import BadSpec, MissingWeights, QuiverError
from quiver.media import read_windows
from quiver.protocols import Encoder, Reader
from quiver.types import Floats, Space

#: Begins a value in a saved spec that is a path inside the model's own folder.
HERE = "./"
#: Folder and list of the files that a model's frozen encoders need.
FOLDER, LIST = "encoders", "files.json"
#: Larger files are not copied into the model's folder; their path and hash are written down instead.
LARGEST = 512 * 2**20
#: A folder with one of these is a saved model, even where its name has no slash.
_MODELS = ("config.json", "modules.json", "open_clip_config.json")
_PREFIX = "local-dir:"
#: Second files of weights, as ONNX has them, that lie beside the first.
_BESIDE = (".data", "_data")


@dataclass(frozen=True, slots=True)
class Readers:
    """Reads one thing for each of several encoders."""

    parts: tuple[Reader, ...]

    def __call__(self, source: Any) -> tuple[Any, ...]:
        """Return the output of each reader.

        Raises:
            BadMedia: one of them cannot decode it.
        """
        return tuple(read(source) for read in self.parts)

    def moments(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[tuple[Any, ...] | QuiverError]:
        """Yield the same for windows of one file, or the error of each; see ``quiver.protocols.Reader``."""
        for outputs in zip(*(read_windows(read, source, spans) for read in self.parts), strict=True):
            yield next((each for each in outputs if isinstance(each, QuiverError)), outputs)


@dataclass(frozen=True, slots=True)
class Frozen:
    """The encoders of a spec, for one key.

    Attributes:
        key: one of KEYS.
        parts: each encoder with the first of its spaces, which is the finest.
    """

    key: str
    parts: tuple[tuple[Encoder, Space], ...]

    @property
    def reader(self) -> Readers:
        """Decodes for ``embed``."""
        return Readers(tuple(encoder.reader(self.key) for encoder, _ in self.parts))

    @property
    def width(self) -> int:
        """Width of the vectors side by side."""
        return sum(space.dim for _, space in self.parts)

    @property
    def named(self) -> list[str]:
        """Name, width and revision of each space."""
        return [f"{space.name} {space.dim} {space.revision}" for _, space in self.parts]

    @property
    def revision(self) -> str:
        """A hash that differs where the vectors differ; empty without encoders."""
        return _fingerprint.of_parts(*self.named) if self.parts else ""

    def embed(self, batch: Sequence[Any]) -> Floats:
        """Return the vectors of all encoders side by side, (n, W) float32, of n outputs of ``reader``."""
        columns = [
            encoder.embed(self.key, [item[place] for item in batch], space)
            for place, (encoder, space) in enumerate(self.parts)
        ]
        return np.concatenate(columns, axis=1)


def split(spec: str) -> list[str]:
    """Return the specs of single encoders; none of an empty spec."""
    return [part.strip() for part in spec.split(" + ") if part.strip()]


def open(spec: str, key: str) -> Frozen:
    """Load the encoders of a spec; "" names none.

    Raises:
        BadSpec: an encoder does not embed the key.
    """
    parts = []
    for each in split(spec):
        encoder: Encoder = registry.load("encoders", each)
        if key not in encoder.keys:
            raise BadSpec(f"{each} embeds {', '.join(encoder.keys)}, not {key}")
        parts.append((encoder, encoder.spaces(key)[0]))
    return Frozen(key, tuple(parts))


def keep(specs: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Copy the files that specs name into a model's folder, and return the specs that find them there.

    Files larger than ``LARGEST`` bytes stay where they are; their absolute path, size and SHA-256 are written into
    ``files.json``, so that ``placed`` can say what is missing. Copies that no spec names any more are removed.

    Args:
        specs: by any name, encoders joined by " + "; values that begin with ``./`` and exist in the folder are left.
        folder: of the model; made where it is not there.
    """
    known: dict[str, Any] = {}
    kept = {place: _each(spec, lambda value: _kept(value, folder, known)) for place, spec in specs.items()}
    for spec in (*specs.values(), *kept.values()):  # whoever trains has named them
        trust.give(spec)
    used = {Path(name).parts[1] for name in known if name.startswith(HERE)}
    for other in (folder / FOLDER).iterdir() if (folder / FOLDER).is_dir() else ():
        if other.name not in used:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    if known:
        files.write_json(folder / LIST, known, indent=2)
    else:
        (folder / LIST).unlink(missing_ok=True)
    return kept


def _each(spec: str, change: Callable[[str], str]) -> str:
    """Change the value of every option of every encoder of a spec."""
    changed = []
    for each in split(spec):
        name, options = registry.split(each)
        changed.append(_joined(name, {key: change(value) for key, value in options.items()}))
    return " + ".join(changed)


def placed(spec: str, folder: Path | None, *, device: str = "auto") -> str:
    """Return a saved spec with the paths it has on this machine.

    Args:
        spec: as ``keep`` gave it, or as an older version saved it.
        folder: of the model; None for a model that was not read from a folder.
        device: given to the encoders that take one and name none; ``auto`` is left out.

    Raises:
        MissingWeights: a file is not there, or is another one; the message says which, and where to put it.
        Untrusted: the folder names a module, or a file outside itself, that the user has not named.
    """
    found = []
    known = {} if folder is None else _listed(folder)
    for each in split(spec):
        name, options = registry.split(each)
        if folder is not None and "." in name:  # before somebody's module is imported
            trust.check(each, place=folder, within=folder)
        accepted = inspect.signature(registry.module("encoders", name).load, eval_str=True).parameters
        if folder is not None:
            for key, value in options.items():
                wants = key in accepted and accepted[key].annotation in (Path, Path | None)
                options[key] = _found(value, folder, known, is_path=wants)
            if "." not in name:  # before a file is opened
                trust.check(_joined(name, options), place=folder, within=folder)
        if device != "auto" and "device" in accepted:
            options.setdefault("device", device)
        found.append(_joined(name, options))
    return " + ".join(found)


def _joined(name: str, options: Mapping[str, str]) -> str:
    return shlex.join([name, *(f"{key}={value}" for key, value in options.items())])


def _kept(value: str, folder: Path, known: dict[str, Any]) -> str:
    prefix = _PREFIX if value.startswith(_PREFIX) else ""
    bare = value.removeprefix(prefix)
    if bare.startswith(HERE) and (folder / bare).exists():
        return value
    path = _on_disk(bare, sure=bool(prefix))
    if path is None:
        return value
    parts = _parts(path)
    size, digest = sum(part.stat().st_size for part in parts), _digest(path, parts)
    if size > LARGEST:
        known[str(path)] = {"bytes": size, "sha256": digest}
        return prefix + str(path)
    inside = Path(FOLDER, digest[:12], path.name)
    if not (folder / inside).exists():
        _copy(path, parts, folder / inside)
    name = f"{HERE}{inside.as_posix()}"
    known[name] = {"bytes": size, "sha256": digest}
    return prefix + name


def _on_disk(value: str, *, sure: bool = False) -> Path | None:
    """Return the absolute path of a value that names a file or a folder of a model; None for any other value."""
    path = Path(value).expanduser()
    if path.is_file():
        return Path(os.path.abspath(path))
    is_model = sure or "/" in value or any((path / name).is_file() for name in _MODELS)
    return Path(os.path.abspath(path)) if path.is_dir() and is_model else None


def _parts(path: Path) -> list[Path]:
    """Return the files of a path: itself and those beside it that belong to it, or all below a folder."""
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    return [path, *(part for end in _BESIDE if (part := path.with_name(path.name + end)).is_file())]


def _digest(path: Path, parts: Sequence[Path]) -> str:
    """Hash the bytes of one file as ``sha256sum`` does; of several files also their names."""
    hashes = [files.sha256(part) for part in parts]
    if len(parts) == 1 and parts[0] == path:
        return hashes[0]
    start = path if path.is_dir() else path.parent
    names = (part.relative_to(start).as_posix() for part in parts)
    return _fingerprint.of_parts(*(f"{name} {each}" for name, each in zip(names, hashes, strict=True)))


def _copy(path: Path, parts: Sequence[Path], target: Path) -> None:
    """Copy a file with those beside it, or a folder, so that it appears whole or not at all."""
    start = path if path.is_dir() else path.parent
    with files.staged(target.parent, mark=target.name) as draft:
        for part in parts:
            place = (draft / target.name if path.is_dir() else draft) / part.relative_to(start)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, place)


def _listed(folder: Path) -> dict[str, Any]:
    """Return the entries of ``files.json`` by file; {} for a folder of an older version, which has none."""
    path = folder / LIST
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise MissingWeights(f"{path} cannot be read: copy the whole folder of the model again ({error})") from error
    return known


def _found(value: str, folder: Path, known: Mapping[str, Any], *, is_path: bool) -> str:
    """Return the path of a value on this machine, or the value itself if it names no file."""
    prefix = _PREFIX if value.startswith(_PREFIX) else ""
    bare = value.removeprefix(prefix)
    told = known.get(bare)
    inside = folder.resolve() / bare
    if bare.startswith(HERE) and (inside.exists() or told is not None):
        if not inside.exists() or (told is not None and _size(inside) != told["bytes"]):
            lost = bare.removeprefix(HERE)
            raise MissingWeights(f"{folder} lacks {lost} or a part of it: copy the whole folder again")
        return prefix + str(inside)
    if told is None and not (is_path or bare.startswith(("/", HERE, "~", "../"))):
        return value
    return prefix + _elsewhere(bare, folder, told)


def _elsewhere(bare: str, folder: Path, told: Mapping[str, Any] | None) -> str:
    """Find a file that was not copied: at its path of training, or added to the model's folder later."""
    path = Path(bare).expanduser()
    if path.exists() and (told is None or _size(path) == told["bytes"]):
        return str(path)
    for other in (folder / FOLDER / path.name, folder / path.name):
        if other.exists() and (told is None or _digest(other, _parts(other)) == told["sha256"]):
            return str(other.resolve())
    which = "" if told is None else f" ({told['bytes']:,} bytes, SHA-256 {told['sha256'][:12]}...)"
    raise MissingWeights(f"{folder} was trained with {bare}{which}, which is not here: put it into {folder / FOLDER}")


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in _parts(path))
