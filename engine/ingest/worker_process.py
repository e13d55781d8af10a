"""One worker process that decodes items, and its main loop.

A worker is a separate Python process, started by ``python -c``. It never imports the caller's main module, so that a
plain script, a notebook, ``python -c`` and a script on standard input can all add items without a main guard. Jobs and
results travel as pickles through its standard input and output, and each item is answered as soon as it is done: if the
process dies, its current item is known.
"""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import IO, Any

from quiver.engine.ingest.decode import TOO_LARGE, Decoded, Job, Slot
from quiver.engine.ingest.decode_windows import decode_all
from quiver.errors import QuiverError
from quiver.malloc import share_arenas
from quiver.media.picture import PIXELS, allow

#: Niceness of workers, in steps of nice(2): each thread of a model waits for the slowest,
#: so a decoder that delays one thread delays all.
_NICENESS = 10
#: Seconds between two checks whether the parent is still running.
_PARENT_CHECK = 0.5
#: The first line on standard input is the parent's sys.path; the rest is ``serve``.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    " from quiver.engine.ingest.worker_process import serve; serve()"
)


class WorkerStartError(QuiverError):
    """A worker process could not be started; the items are not the cause."""


class WorkerDiedError(QuiverError):
    """A worker process ended in the middle of its jobs.

    Attributes:
        reason: why the parent killed it, if it exceeded a limit.
    """

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason or "the worker process died")
        self.reason = reason


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
        #: Numbers of items sent and answered: while they differ, the worker is decoding.
        self.asked = self.answered = 0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise WorkerStartError(str(error)) from error
        self._greet(slots)

    def _greet(self, slots: Sequence[Slot]) -> None:
        try:
            self._input.write(json.dumps(sys.path).encode() + b"\n")
            pickle.dump((tuple(slots), self.limits), self._input)
            self._input.flush()
            failure: str | None = pickle.load(self._output)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise WorkerStartError(f"it ended immediately, with status {self._process.returncode}") from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # a reader that cannot be pickled
            self.close()
            raise WorkerStartError(f"a reader cannot be sent to it: {error}") from error
        if failure is not None:
            self.close()
            raise WorkerStartError(failure)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def decode(self, jobs: Sequence[Job]) -> Iterator[Decoded]:
        """Yield the results of jobs, each as soon as it arrives.

        Raises:
            WorkerDiedError: the process ended before it answered all jobs.
        """
        try:
            pickle.dump(jobs, self._input)
            self._input.flush()
            self.asked += len(jobs)
            for _ in jobs:
                result: Decoded = pickle.load(self._output)
                self.answered += 1
                yield result
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise WorkerDiedError(self.killed) from error

    def kill(self, reason: str | None = None) -> None:
        """Kill the worker; ``reason`` says which limit its current item exceeded."""
        self.killed = self.killed or reason
        self._process.kill()

    def close(self) -> None:
        """Stop the worker and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

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


def serve() -> None:
    """Run a worker: read the readers, then lists of jobs, until standard input ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of a library would mix with the results
    share_arenas()
    try:
        slots, limits = pickle.load(jobs)
        _stand_back(limits)
        allow(limits.pixels)
    except Exception as error:
        _answer(results, f"{type(error).__name__}: {error}")
        return
    with suppress(EOFError, BrokenPipeError):
        _answer(results, None)
        while True:
            for result in decode_all(pickle.load(jobs), slots):
                _answer(results, _sendable(result, limits))


def _sendable(result: Decoded, limits: Limits) -> bytes:
    if result.reason is not None and result.reason.endswith(TOO_LARGE):
        result = replace(result, reason=result.reason.removesuffix(TOO_LARGE) + limits.too_large)
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps(Decoded(result.id, reason=limits.too_large))


def _answer(results: IO[bytes], value: Any) -> None:
    results.write(value if isinstance(value, bytes) else pickle.dumps(value))
    results.flush()


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
