"""Uploads of clients: decoded in processes with limits, so that no decoder runs on strangers' bytes in this one.

What comes back is an array of pixels or a plain WAV that the worker wrote itself; the encoders read these as they read
files.
"""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any

import numpy as np

from quiver.engine.server.problems import Problem
from quiver.engine.server.settings import Limits
from quiver.errors import BadMedia, MissingExtra, QuiverError

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    " from quiver.engine.server.upload_worker import serve; serve()"
)
#: Uploads after which a worker ends: what one of them may have done to it ends with it.
_TURNS = 32
#: Longest head of an answer, and most bytes of an answer.
_HEAD, _LARGEST = 4_096, 256 << 20
#: What a medium is decoded as.
_KINDS = {"image": "image", "before": "image", "after": "image", "audio": "audio", "video": "video"}
#: Largest size of a thumbnail, in pixels.
_TYPES = ("|u1", "<f4")


class Decoders:
    """Decodes uploads and draws thumbnails.

    Args:
        limits: what decoding may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.decoders, thread_name_prefix="quiver-upload")
        self._idle: SimpleQueue[_Worker] = SimpleQueue()

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with suppress(Empty):
            while True:
                self._idle.get_nowait().end()

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Where ``decode`` and ``thumbnail`` are to be called."""
        return self._threads

    def decode(self, medium: str, data: bytes, name: str) -> Any:
        """Return an upload decoded: an array, or the bytes of a WAV.

        Args:
            medium: name of a medium.
            data: the upload.
            name: what messages call it.

        Raises:
            BadMedia: it cannot be decoded, or not within the limits.
        """
        if not data:
            raise BadMedia(f"{name} is empty")
        kind, limits = _KINDS[medium], self._limits
        seconds = limits.audio if kind == "audio" else limits.video
        found = self._ask({"do": kind, "pixels": limits.pixels, "seconds": seconds}, data, name)
        if kind == "audio":
            return found.tobytes()
        return found

    def thumbnail(self, reference: str, key: str, side: int, name: str) -> bytes:
        """Return a JPEG of a stored medium, ``side`` pixels high.

        Raises:
            BadMedia: it cannot be decoded, or not within the limits.
        """
        found = self._ask({"do": "thumbnail", "reference": reference, "key": key, "side": side}, b"", name)
        return bytes(found.tobytes())

    def _ask(self, request: Mapping[str, Any], data: bytes, name: str) -> Any:
        try:
            worker = self._idle.get_nowait()
        except Empty:
            worker = _Worker(self._limits)
        try:
            found = worker.ask(request, data, name)
        except QuiverError:
            worker.finish(self._idle)
            raise
        except BaseException:
            worker.end()
            raise
        worker.finish(self._idle)
        return found


class _Worker:
    """A process that decodes; one thread at a time uses it."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._turns, self._late = limits, 0, False
        command = [sys.executable, "-P", "-c", _BOOT]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
        total = limits.decode * _TURNS
        try:
            self._write(json.dumps(sys.path).encode() + b"\n")
            self._write(json.dumps({"memory": limits.memory, "seconds": total}).encode() + b"\n")
            self._head("it did not start")
        except (BadMedia, OSError) as error:
            self.end()
            raise Problem(503, "uploads cannot be decoded now: no process could be started") from error

    def ask(self, request: Mapping[str, Any], data: bytes, name: str) -> Any:
        """Decode, and return the array.

        Raises:
            BadMedia: it cannot be decoded.
            MissingExtra: a package is missing for this medium.
        """
        self._turns += 1
        alarm = threading.Timer(self._limits.decode, self._kill)
        alarm.start()
        try:
            self._write(json.dumps({**request, "size": len(data)}).encode() + b"\n" + data)
            head = self._head(name)
            if "error" in head:
                raise _error(str(head["error"]), name, missing=bool(head.get("missing")))
            return self._array(head, name)
        except (OSError, ValueError) as error:
            raise self._died(name) from error
        finally:
            alarm.cancel()

    def _head(self, name: str) -> dict[str, Any]:
        line = self._out.readline(_HEAD)
        if not line.endswith(b"\n"):
            raise self._died(name)
        head = json.loads(line)
        if not isinstance(head, dict):
            raise self._died(name)
        return head

    def _array(self, head: Mapping[str, Any], name: str) -> Any:
        size, shape, kind = head.get("size"), head.get("shape"), head.get("dtype")
        if not isinstance(shape, list):
            raise self._died(name)
        whole = len(shape) <= 4 and all(isinstance(n, int) and n >= 0 for n in shape)
        if not whole or kind not in _TYPES or not isinstance(size, int) or not 0 <= size <= _LARGEST:
            raise self._died(name)
        data = self._out.read(size)
        if len(data) != size or size != math.prod(shape) * np.dtype(kind).itemsize:
            raise self._died(name)
        return np.frombuffer(data, kind).reshape(shape).copy()

    def _died(self, name: str) -> BadMedia:
        self._turns = _TURNS
        if self._late:
            return BadMedia(f"{name}: decoding took more than {self._limits.decode:g} s")
        return BadMedia(f"{name}: decoding it ended the process that decodes uploads")

    def finish(self, idle: "SimpleQueue[_Worker]") -> None:
        """Wait for the next upload, or end."""
        if self._turns >= _TURNS or self._process.poll() is not None:
            self.end()
        else:
            idle.put(self)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _kill(self) -> None:
        self._late = True
        self._process.kill()

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()


def _environment() -> dict[str, str]:
    """Return what a worker may know: where programs and libraries are, and how many threads to use."""
    import os

    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"OMP_NUM_THREADS": "1"}


def _error(said: str, name: str, *, missing: bool) -> QuiverError:
    if missing:
        error = MissingExtra("")
        error.args = (said,)
        return error
    said = said.split(": ", 1)[-1] if said.startswith("<") else said
    return BadMedia(f"{name}: {said[:500]}")
