"""Uploads of clients: decoded in processes with limits, so that no decoder runs on strangers' bytes in this one.

Pixels and samples come back as plain values (see ``quiver.engine.core.messages``): no file of a stranger's, and no file
that its decoder wrote, is read in this process.
"""

import io
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from quiver.engine.core.child_process import ChildProcess
from quiver.engine.core.messages import BadMessage
from quiver.engine.server.problems import Problem
from quiver.engine.server.settings import Limits
from quiver.errors import BadMedia, MissingExtra, QuiverError
from quiver.media.audio import RATES, Samples

#: Uploads after which a worker ends: what one of them may have done to it ends with it.
_TURNS = 32
#: Most bytes of an answer.
_LARGEST = 256 << 20
#: What a medium is decoded as.
_KINDS = {"image": "image", "before": "image", "after": "image", "audio": "audio", "video": "video"}
_NONE = "uploads cannot be decoded now: no process could be started"


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
        """Return an upload decoded: an array, or the bytes of a WAV of its samples, which encoders read as a file.

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
        if kind == "audio":
            return _wav(*self.sound(data, name, seconds=limits.audio))
        return self._ask({"do": kind, "pixels": limits.pixels, "seconds": limits.video}, data, name)

    def sound(self, data: bytes, name: str, *, seconds: float) -> tuple[Samples, int]:
        """Return the first seconds of a sound: its samples (n,) float32, mono, and their rate (Hz).

        Raises:
            BadMedia: it cannot be decoded, or not within the limits.
        """
        asked = {"do": "audio", "pixels": self._limits.pixels, "seconds": min(seconds, self._limits.audio)}
        samples, rate = self._ask(asked, data, name)
        return samples, rate

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
        try:
            self._child = ChildProcess("quiver.engine.server.upload_worker", most=_LARGEST, environment=_environment())
        except OSError as error:
            raise Problem(503, _NONE) from error
        try:
            self._child.send({"memory": limits.memory, "seconds": limits.decode * _TURNS})
            self._child.receive()
        except (OSError, EOFError, BadMessage) as error:
            self.end()
            raise Problem(503, _NONE) from error

    def ask(self, request: Mapping[str, Any], data: bytes, name: str) -> Any:
        """Decode, and return an array; of a sound, its samples (n,) float32 and their rate (Hz).

        Raises:
            BadMedia: it cannot be decoded.
            MissingExtra: a package is missing for this medium.
        """
        self._turns += 1
        alarm = threading.Timer(self._limits.decode, self._kill)
        alarm.start()
        try:
            self._child.send({**request, "data": data})
            return _checked(self._child.receive(), request["do"], name)
        except (OSError, EOFError, BadMessage) as error:
            raise self._died(name) from error
        finally:
            alarm.cancel()

    def _died(self, name: str) -> BadMedia:
        self._turns = _TURNS
        if self._late:
            return BadMedia(f"{name}: decoding took more than {self._limits.decode:g} s")
        return BadMedia(f"{name}: decoding it ended the process that decodes uploads")

    def finish(self, idle: "SimpleQueue[_Worker]") -> None:
        """Wait for the next upload, or end."""
        if self._turns >= _TURNS or self._child.status is not None:
            self.end()
        else:
            idle.put(self)

    def end(self) -> None:
        """End the process."""
        self._child.close()

    def _kill(self) -> None:
        self._late = True
        self._child.kill()


def _checked(answer: Any, do: str, name: str) -> Any:
    """Return an answer: pixels, or the samples and the rate of a sound.

    Raises:
        BadMessage: it is neither, nor an error.
        BadMedia: the worker could not decode the upload.
        MissingExtra: a package is missing for this medium.
    """
    pair = type(answer) is tuple and len(answer) == 2
    if pair and type(answer[0]) is type(answer[1]) is str:
        raise _error(answer[0], answer[1], name)
    whole = (
        (pair and _is_array(answer[0], np.float32, most=1) and type(answer[1]) is int and answer[1] in RATES)
        if do == "audio"
        else _is_array(answer, np.uint8, most=4)
    )
    if not whole:
        raise BadMessage("an answer has the wrong form")
    return answer


def _is_array(found: Any, dtype: type, *, most: int) -> bool:
    return type(found) is np.ndarray and found.dtype == dtype and found.ndim <= most


def _wav(samples: Samples, rate: int) -> bytes:
    import soundfile

    fresh = io.BytesIO()
    soundfile.write(fresh, samples, rate, format="WAV", subtype="FLOAT")
    return fresh.getvalue()


def _environment() -> dict[str, str]:
    """Return what a worker may know: where programs and libraries are, and how many threads to use."""
    import os

    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"OMP_NUM_THREADS": "1"}


def _error(kind: str, said: str, name: str) -> QuiverError:
    """Return an error that a worker named; any kind but ``MissingExtra`` is a fault of the file."""
    if kind == "MissingExtra":
        error = MissingExtra("")
        error.args = (said[:500],)
        return error
    said = said.split(": ", 1)[-1] if said.startswith("<") else said
    return BadMedia(f"{name}: {said[:500]}")
