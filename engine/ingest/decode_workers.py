"""Decoding in worker processes, while the main process encodes.

A worker that dies, hangs, uses too much memory or sends a wrong answer loses only its current item; a new worker
continues with the rest. An item whose worker died or sent a wrong answer is tried once more, alone: the cause may be
the memory of other processes, or an item before it.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from quiver.engine.ingest.decode import Decoded, Job, Slot
from quiver.engine.ingest.decode_windows import decode_all
from quiver.engine.ingest.worker_process import (
    Limits,
    WorkerDiedError,
    WorkerProcess,
    WorkerStartError,
    can_start,
)
from quiver.errors import BadSpec
from quiver.media.picture import PIXELS, allow

#: Default time limit for decoding one item, in seconds.
SECONDS = 120.0
#: Default memory limit of a worker in bytes: this, or an equal share of half the machine's memory if that is less.
MEMORY = 4 << 30
_LEAST_MEMORY = 1 << 30
#: Seconds between two checks of the workers' memory and time.
_TICK = 0.2


def processes() -> int:
    """Return the default number of decoding processes: one less than the cores, at least 1, at most 8."""
    return max(1, min(8, (os.cpu_count() or 1) - 1))


def checked_count(workers: object) -> int:
    """Return the number of worker processes that a user asked for.

    Raises:
        BadSpec: it is not a whole number of at least 0.
    """
    if workers is None:
        return processes()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise BadSpec(f"workers must be a whole number of at least 0 (0 decodes in this process), not {workers!r}")
    return workers


def limits_of(
    count: int, *, seconds: float | None = None, memory: int | None = None, pixels: int | None = None
) -> Limits:
    """Return the limits on one item, with defaults for ``count`` workers.

    Raises:
        BadSpec: a limit is not a positive number.
    """
    for name, value in (("max_seconds", seconds), ("max_memory", memory), ("max_pixels", pixels)):
        if value is not None and not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise BadSpec(f"{name} must be a positive number, not {value!r}")
    share = _machine_memory() // (2 * max(1, count))
    return Limits(seconds or SECONDS, int(memory or max(_LEAST_MEMORY, min(MEMORY, share))), int(pixels or PIXELS))


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30


class Workers:
    """Worker processes that decode chunks of items, in the order they were asked for.

    Attributes:
        slots: the media to decode of each item.
        count: largest number of processes; 0 decodes in this process, without limits.
        limits: limits on the decoding of one item.
        notes: notes for the user.
    """

    def __init__(self, slots: Sequence[Slot], *, count: int, limits: Limits | None = None) -> None:
        self.slots = tuple(slots)
        self.count = count
        self.limits = limits or limits_of(count)
        self.notes: list[str] = []
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self._alive: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._in_process = count == 0
        if count and not can_start():
            self._decode_here("this program is frozen, so there is no Python executable to start")

    def __enter__(self) -> "Workers":
        allow(self.limits.pixels)  # for decoding in this process; workers get their own
        if not self._in_process:
            self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="quiver-decode")
            threading.Thread(target=self._watch, name="quiver-watch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        allow(PIXELS)
        with self._lock:
            alive = list(self._alive)
        for worker in alive:
            worker.kill()
        if hasattr(self, "_threads"):
            self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in alive:
            worker.close()

    def map(self, chunks: Iterable[Sequence[Job]]) -> Iterator[list[Decoded]]:
        """Decode chunks, only a few ahead of the consumer, so that memory stays bounded."""
        waiting: deque[tuple[Sequence[Job], Future[list[Decoded]] | None]] = deque()
        for jobs in chunks:
            waiting.append((jobs, None if self._in_process else self._threads.submit(self._chunk, jobs)))
            if len(waiting) > self.count + 1:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _result(self, jobs: Sequence[Job], future: Future[list[Decoded]] | None) -> list[Decoded]:
        return list(decode_all(jobs, self.slots)) if future is None else future.result()

    def _chunk(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Decode a chunk in one worker; if it dies, continue in a new one."""
        done: list[Decoded] = []
        retried = -1  # the position of an item that is tried once more, alone
        while len(done) < len(jobs) and not self._stopped.is_set():
            here = len(done)
            try:
                worker = self._take()
            except WorkerStartError as error:
                self._decode_here(str(error))
                return [*done, *decode_all(jobs[here:], self.slots)]
            try:
                for result in worker.decode(jobs[here : here + 1] if retried == here else jobs[here:]):
                    done.append(result)
            except WorkerDiedError as death:
                self._forget(worker)
                at = len(done)
                if death.certain or retried == at:
                    done.append(Decoded(jobs[at].id, reason=death.reason))
                else:
                    retried = at
            else:
                self._idle.put(worker)
        return done

    def _take(self) -> WorkerProcess:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            worker = WorkerProcess(self.slots, self.limits)
        with self._lock:
            self._alive.add(worker)
        if self._stopped.is_set():
            worker.kill()
        return worker

    def _forget(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._alive.discard(worker)

    def _decode_here(self, why: str) -> None:
        with self._lock:
            if not self._in_process:
                self.notes.append(f"decoding without worker processes, and so without limits: {why}")
            self._in_process = True

    def _watch(self) -> None:
        """Kill workers whose item exceeds a limit.

        Time is counted in ticks, so that a suspended program does not count as slow.
        """
        spent: dict[WorkerProcess, tuple[int, float]] = {}
        while not self._stopped.wait(_TICK):
            with self._lock:
                alive = list(self._alive)
            for worker in (worker for worker in alive if worker.asked > worker.answered):
                item, seconds = spent.get(worker, (-1, 0.0))
                seconds = seconds + _TICK if item == worker.answered else 0.0
                spent[worker] = (worker.answered, seconds)
                if seconds > self.limits.seconds:
                    worker.kill(self.limits.too_slow)
                elif worker.resident() > self.limits.memory:
                    worker.kill(self.limits.too_large)
