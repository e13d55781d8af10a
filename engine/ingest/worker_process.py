"""One worker process that decodes items, and its main loop.

A damaged or crafted file can take over the decoder that reads it. So a worker answers in plain values (see
``quiver.engine.core.messages``), and the parent checks the form of each answer: a worker that a file has taken over can
send wrong pixels, but no code. The other direction is safe: the readers of the encoders are objects of any class, and
travel to the worker as one pickle, before it opens any file; jobs are plain values. Each item is answered as soon as it
is done: if the process dies, its current item is known.
"""

import os
import pickle
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import IO, Any

from quiver.engine.core.child_process import ChildProcess, streams
from quiver.engine.core.messages import BadMessage, NotPlain, packed, receive, send
from quiver.engine.ingest.decode import TOO_LARGE, Decoded, Hashed, Job, Slot, as_audio
from quiver.engine.ingest.decode_windows import decode_all
from quiver.errors import QuiverError
from quiver.malloc import share_arenas
from quiver.media.picture import PIXELS, allow
from quiver.types import keys_of

#: Niceness of workers, in steps of nice(2): each thread of a model waits for the slowest,
#: so a decoder that delays one thread delays all.
_NICENESS = 10
#: Seconds between two checks whether the parent is still running.
_PARENT_CHECK = 0.5
_KILLED = "decoding this item killed its worker process"
_BROKEN = "decoding this item broke its worker process, whose answer has the wrong form"
#: End of the quarantine reason of an item whose reader returns something else.
_PLAIN = (
    "a reader must return text, numbers, bytes, numpy arrays of numbers, or lists, tuples and dicts of them; mend the"
    " encoder, or decode without worker processes: workers=0"
)
#: The content hash of an item; empty for a film, whose windows have hashes of their own.
_SHA256 = re.compile("[0-9a-f]{64}|")
#: Most characters of a quarantine reason.
_REASON = 4_000


class WorkerStartError(QuiverError):
    """A worker process could not be started; the items are not the cause."""


class WorkerDiedError(QuiverError):
    """A worker process ended in the middle of its jobs.

    Attributes:
        reason: why its current item is to be quarantined.
        certain: whether that item alone is the cause, because it exceeded a limit.
    """

    def __init__(self, reason: str, *, certain: bool) -> None:
        super().__init__(reason)
        self.reason, self.certain = reason, certain


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the decoding of one item.

    Attributes:
        seconds: time after which its worker is killed.
        memory: bytes that a worker may allocate in addition to its own code.
        pixels: pixel limit of a picture after its decoder has scaled it down.
    """

    seconds: float
    memory: int
    pixels: int = PIXELS

    @property
    def too_large(self) -> str:
        """Quarantine reason of an item that exceeds the memory limit."""
        return f"decoding needs more than {self.memory / (1 << 30):.3g} GB of memory: raise max_memory to allow it"

    @property
    def too_slow(self) -> str:
        """Quarantine reason of an item that exceeds the time limit."""
        return f"decoding took more than {self.seconds:g} s: raise max_seconds to allow it"


def can_start() -> bool:
    """Whether this program has a Python executable to start workers with; a frozen application has none."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class WorkerProcess:
    """A running worker; only one thread at a time may use it.

    Raises:
        WorkerStartError: the worker does not start, or it cannot load the readers.
    """

    def __init__(self, slots: Sequence[Slot], limits: Limits) -> None:
        self.limits = limits
        self.killed: str | None = None
        self._keys = tuple(slot.key for slot in slots)
        #: Numbers of items sent and answered: while they differ, the worker is decoding.
        self.asked = self.answered = 0
        try:
            self._child = ChildProcess("quiver.engine.ingest.worker_process", most=limits.memory)
        except OSError as error:
            raise WorkerStartError(str(error)) from error
        self._greet(slots)

    def _greet(self, slots: Sequence[Slot]) -> None:
        try:
            self._child.send(pickle.dumps((tuple(slots), self.limits)))
            failure = self._child.receive()
        except (OSError, EOFError, BadMessage) as error:
            self.close()
            raise WorkerStartError(f"it ended immediately, with status {self._child.status}") from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # a reader that cannot be pickled
            self.close()
            raise WorkerStartError(f"a reader cannot be sent to it: {error}") from error
        if failure is not None:
            self.close()
            raise WorkerStartError(str(failure))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def decode(self, jobs: Sequence[Job]) -> Iterator[Decoded]:
        """Yield the results of jobs, each as soon as it arrives.

        Raises:
            WorkerDiedError: the process ended before it answered all jobs, or an answer has the wrong form.
        """
        try:
            self._child.send([_request(job) for job in jobs])
            self.asked += len(jobs)
            for job in jobs:
                result = _result(self._child.receive(), job, self._keys)
                self.answered += 1
                yield result
        except (OSError, EOFError) as error:
            self.close()
            raise WorkerDiedError(self.killed or _KILLED, certain=self.killed is not None) from error
        except BadMessage as error:
            self.close()
            raise WorkerDiedError(_BROKEN, certain=False) from error
        except MemoryError as error:
            self.close()
            raise WorkerDiedError(self.limits.too_large, certain=True) from error

    def kill(self, reason: str | None = None) -> None:
        """Kill the worker; ``reason`` says which limit its current item exceeded."""
        self.killed = self.killed or reason
        self._child.kill()

    def close(self) -> None:
        """Stop the worker and close its pipes."""
        self._child.close()

    def resident(self) -> int:
        """Return the resident memory of the worker in bytes; 0 if unknown."""
        return resident(self.pid)


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(import_module("psutil").Process(pid).memory_info().rss)
    except Exception:  # no psutil, or the process is gone
        return 0


def _request(job: Job) -> list[Any]:
    """Return a job as a plain value: of lists, which are the quickest to write and to read."""
    hashed = None if job.hashed is None else [job.hashed.sha256, job.hashed.stamps]
    return [job.id, [*job.media], [*job.media.values()], job.known, [*job.missing], hashed]


def _job(request: list[Any]) -> Job:
    id, names, references, known, missing, hashed = request
    hashed = None if hashed is None else Hashed(*hashed)
    return Job(id, dict(zip(names, references, strict=True)), known, tuple(missing), hashed)


def _answer(result: Decoded) -> list[Any]:
    """Return a result as a plain value."""
    media, failed = result.media, result.failed
    is_sound = result.found is not None
    return [result.sha256, result.reason, is_sound, [*media], [*media.values()], [*failed], [*failed.values()]]


def _result(answer: Any, job: Job, keys: tuple[str, ...]) -> Decoded:
    """Return the result of a job; its id and its references are the parent's own, not those of the answer.

    Args:
        answer: what the worker sent.
        job: the item.
        keys: the key of each slot.

    Raises:
        BadMessage: the answer does not have the form of one.
    """
    try:
        sha256, reason, is_sound, slots, values, failed, reasons = answer
        found = None if is_sound is False else _found(is_sound, job.media)
        held = _held(keys, tuple(found or job.media))
        media = {_slot(slot, held): value for slot, value in zip(slots, values, strict=True)}
        failures = {_slot(slot, held): _text(why) for slot, why in zip(failed, reasons, strict=True)} if failed else {}
        if sha256 is None or reason is not None:
            reason = _text(reason)
        if sha256 is not None and _SHA256.fullmatch(sha256) is None:
            raise ValueError("no hash")
    except (TypeError, ValueError) as error:
        raise BadMessage("an answer has the wrong form") from error
    return Decoded(job.id, sha256, media, reason, found, failures)


def _found(is_sound: Any, media: Mapping[str, str]) -> dict[str, str]:
    if is_sound is not True or "video" not in media or "audio" in media:
        raise ValueError("no sound")
    return as_audio(media)


def _slot(slot: Any, held: frozenset[int]) -> int:
    if type(slot) is int and slot in held:
        return slot
    raise ValueError("no slot of this item")


def _text(found: Any) -> str:
    if type(found) is not str:
        raise ValueError("no text")
    return found[:_REASON]


@lru_cache(1024)
def _held(keys: tuple[str, ...], names: tuple[str, ...]) -> frozenset[int]:
    """Return the slots of an item with media of these names."""
    own = keys_of(dict.fromkeys(names, ""))
    return frozenset(slot for slot, key in enumerate(keys) if key in own)


def serve() -> None:
    """Run a worker: read the readers, then lists of jobs, until standard input ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    jobs, answers = streams()
    share_arenas()
    try:
        slots, limits = pickle.loads(receive(jobs, most=sys.maxsize))
        _stand_back(limits)
        allow(limits.pixels)
    except Exception as error:
        send(answers, f"{type(error).__name__}: {error}")
        return
    with suppress(EOFError, BrokenPipeError):
        send(answers, None)
        while True:
            for result in decode_all([_job(each) for each in receive(jobs, most=sys.maxsize)], slots):
                _send(answers, result, limits)


def _send(answers: IO[bytes], result: Decoded, limits: Limits) -> None:
    if result.reason is not None and result.reason.endswith(TOO_LARGE):
        result = replace(result, reason=result.reason.removesuffix(TOO_LARGE) + limits.too_large)
    try:
        parts = packed(_answer(result))
    except MemoryError:
        parts = packed(_answer(Decoded(result.id, reason=limits.too_large)))
    except NotPlain as error:
        parts = packed(_answer(Decoded(result.id, reason=f"{error}: {_PLAIN}")))
    for part in parts:
        answers.write(part)
    answers.flush()


def _stand_back(limits: Limits) -> None:
    """Give the model's threads priority, and limit memory if the system can (Linux)."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm") as file:
            own = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = own + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(1)
