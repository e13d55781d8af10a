"""Writing files: a file or folder appears whole or not at all, and a failure is one line that names the path.

Whatever Quiver writes goes to a draft beside its place, which takes that place by one rename. Readers see the old file
or the new one. A draft is removed when writing fails. Permissions are those of any new file (``umask``).
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from quiver.errors import BadSpec, CannotWrite, QuiverError

#: Errors of the system that refuse a write, and the advice for each.
_ADVICE = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "choose a disk that takes files of this size",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENOENT: "choose a folder that exists or can be made",
    errno.EEXIST: "a part of this path is a file: choose another path",
    errno.ENOTDIR: "a part of this path is a file: choose another path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose a path without links that point at themselves",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the disk again",
}
#: Errors that say the same whichever file they come from: the place is full or cannot be written to.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def cache_home() -> Path:
    """Return the folder for caches: ``$QUIVER_CACHE``, else ``~/.cache/quiver``."""
    return Path(os.environ.get("QUIVER_CACHE", Path.home() / ".cache" / "quiver"))


@contextmanager
def staged(path: Path, *, mark: str | None = None) -> Iterator[Path]:
    """Yield a free name beside ``path``; the file or folder written there takes its place when the block succeeds.

    A link is followed: the file it points at is replaced. A device or pipe (/dev/stdout) is written to directly.

    Args:
        path: where the file or folder shall be; folders above it are made.
        mark: a name that every folder of this sort contains; None for a file. A folder at path that lacks it stays.

    Raises:
        BadSpec: there is something else at path.
        CannotWrite: the disk is full, or path cannot be written to.
    """
    if _direct(path):
        with writing(path):
            yield path
        return
    _check(path, mark)
    with writing(path):
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{_prefix(path)}{uuid4().hex[:12]}{path.suffix}")
        try:
            yield draft
            _open_up(draft)
            _swap(draft, path)
        finally:
            remove(draft)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn what the system or a library says of a write that failed into one line that names the path.

    Errors about other files, such as one that the block reads, pass.

    Raises:
        CannotWrite: the disk is full, or path cannot be written to.
    """
    try:
        yield
    except QuiverError:
        raise
    except Exception as error:
        code = _refusal(error, Path(path))
        if code is None:
            raise
        # Another file is named where that is the one: a temporary file, say.
        named = error.filename if isinstance(error, OSError) and code in _DISK else None
        where = path if named is None or _within(Path(os.fsdecode(named)), Path(path)) else os.fsdecode(named)
        raise CannotWrite(f"cannot write {where}: {os.strerror(code)}; {_ADVICE[code]}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes in place of the file that was there.

    Raises:
        BadSpec, CannotWrite: see ``staged``.
    """
    with staged(path) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; half a character, as in some file names, is written as an escape.

    Raises:
        BadSpec, CannotWrite: see ``staged``.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON as UTF-8.

    Raises:
        BadSpec, CannotWrite: see ``staged``.
    """
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Any], *, header: Mapping[str, str] | None = None) -> None:
    """Write numpy arrays by name, and a header of texts, as a safetensors file.

    Raises:
        BadSpec, CannotWrite: see ``staged``.
    """
    from safetensors.numpy import save_file

    with staged(path) as draft:
        save_file(dict(arrays), draft, dict(header or {}))


def once(path: Path, save: Callable[[Path], None]) -> None:
    """Write a file unless it is there already; ``save`` is given the draft to write.

    Raises:
        BadSpec, CannotWrite: see ``staged``.
    """
    if not path.exists():
        with staged(path) as draft:
            save(draft)


def append_text(path: Path, text: str) -> None:
    """Add text as UTF-8 to the end of a file.

    Raises:
        CannotWrite: the disk is full, or path cannot be written to.
    """
    with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or folder as far as the system allows; a missing one is no error."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _direct(path: Path) -> bool:
    """Tell whether path is a device, a pipe or an open file of this process, which nothing can take the place of."""
    if str(path) in ("/dev/stdout", "/dev/stderr") or str(path).startswith(("/dev/fd/", "/proc/self/fd/")):
        return True
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return False


def _check(path: Path, mark: str | None) -> None:
    """Refuse to replace a thing of another sort."""
    try:
        folder, used = path.is_dir(), path.is_dir() and any(path.iterdir())
    except OSError:
        return  # the write itself will say why
    if folder and mark is None and not used:
        raise BadSpec(f"{path} is a folder: name a file")
    if used and not (mark and (path / mark).exists()):
        raise BadSpec(f"{path} is a folder that holds something else: choose another path, or remove it")
    if mark and path.is_file():
        raise BadSpec(f"{path} is a file: choose another path, or remove it")


def _open_up(draft: Path) -> None:
    """Give a file that a library made for its owner alone (safetensors does) the permissions of any new file."""
    if not draft.is_file() or draft.stat().st_mode & 0o777 != 0o600:
        return
    probe = draft.with_name(f".{uuid4().hex}")
    try:
        probe.touch(exist_ok=False)
        draft.chmod(probe.stat().st_mode & 0o777)
    finally:
        remove(probe)


def _swap(draft: Path, path: Path) -> None:
    if not path.is_dir():
        draft.replace(path)
        return
    aside = path.with_name(f".{path.name[:40]}.{uuid4().hex[:12]}")  # no system replaces a folder that is not empty
    path.rename(aside)
    draft.rename(path)
    remove(aside)


def _refusal(error: Exception, path: Path) -> int | None:
    """Return the number of the system's error if that is why path could not be written; None for any other."""
    if isinstance(error, OSError) and error.errno is not None:
        code = error.errno
        if code not in _ADVICE:
            return None
        own = error.filename is None or _within(Path(os.fsdecode(error.filename)), path)
        return code if own or code in _DISK else None
    text = str(error)  # libraries in C++ and Rust quote the system: "... (os error 28)", "...: No space left on device"
    number = re.search(r"\(os error (\d+)\)", text)
    if number and int(number[1]) in _ADVICE:
        return int(number[1])
    if re.search(r"\d+ requested and \d+ written", text):  # numpy says no more of a disk that is full
        return errno.ENOSPC
    return next((code for code in _DISK if os.strerror(code) in text), None)


def _within(name: Path, path: Path) -> bool:
    """Tell whether a name is path, a draft of it, something inside these, or a folder above it."""
    name, path = Path(os.path.abspath(name)), Path(os.path.abspath(path))
    if path.is_relative_to(name) or name.is_relative_to(path):
        return True
    beside = name.relative_to(path.parent).parts[:1] if name.is_relative_to(path.parent) else ()
    return any(part.startswith(_prefix(path)) for part in beside)


def _prefix(path: Path) -> str:
    return f".{path.stem[:40]}."
