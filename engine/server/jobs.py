"""Long work: one job at a time, each in a process of its own, with a file that lets it go on after a restart.

An add commits as it goes, and does nothing for what is stored already; so a job that was cut short is simply run again.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from quiver.engine.server.problems import Problem
from quiver.engine.server.served import Catalogue, Served
from quiver.errors import QuiverError
from quiver.files import write_json

#: States of a job: the last three are final.
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
_LOG = logging.getLogger("quiver.server")
_FINAL = (DONE, FAILED, STOPPED)
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.stdin.readline());"
    " from quiver.engine.server.job_runner import main; main()"
)
#: Jobs that wait at most, finished ones that are remembered, events of a job that are kept, and bytes of one line.
_WAITING, _REMEMBERED, _EVENTS, _LINE = 100, 200, 1_000, 16 << 20


@dataclass(slots=True)
class Job:
    """A piece of work.

    Attributes:
        id: its id.
        collection: name of the collection.
        kind: ``add``, ``embed``, ``index`` or ``check``.
        options: what exactly.
        key: id of the key that asked for it.
        state: how far it is.
        made: time in seconds of the epoch.
        events: what happened so far; the place in the list, from 1, is the event's number.
    """

    id: str
    collection: str
    kind: str
    options: dict[str, Any]
    key: str = ""
    state: str = WAITING
    made: float = field(default_factory=time.time)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in _FINAL

    def to_dict(self) -> dict[str, Any]:
        """Return what a client may know."""
        last = self.events[-1] if self.events else {}
        more: dict[str, Any] = {name: last[name] for name in ("done", "total", "report", "detail") if name in last}
        told = {"id": self.id, "collection": self.collection, "kind": self.kind, "state": self.state, "made": self.made}
        return {**told, **more}


class Jobs:
    """The jobs of a service.

    Args:
        catalogue: the collections.
        trust: see ``quiver.open``.
    """

    def __init__(self, catalogue: Catalogue, *, trust: bool = False) -> None:
        self._catalogue, self._trust = catalogue, trust
        self._jobs: dict[str, Job] = {}
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._current: Job | None = None

    async def start(self) -> None:
        """Begin to work; jobs that an earlier process did not finish come first."""
        self._queue, self._changed = asyncio.Queue(), asyncio.Condition()
        for job in sorted(self._unfinished(), key=lambda job: job.made):
            job.state = WAITING
            self._jobs[job.id] = job
            self._queue.put_nowait(job)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the running job, which goes on when the service starts again."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def all(self) -> list[Job]:
        """Return the jobs, oldest first."""
        return sorted(self._jobs.values(), key=lambda job: job.made)

    def get(self, id: str) -> Job | None:
        """Return a job by its id."""
        return self._jobs.get(id)

    def submit(self, served: Served, kind: str, options: Mapping[str, Any], *, key: str) -> Job:
        """Take a job.

        Raises:
            Problem: too many wait.
        """
        if self._queue.qsize() >= _WAITING:
            raise Problem(503, f"{_WAITING} jobs wait already: try again later", headers={"Retry-After": "60"})
        job = Job(token_hex(8), served.name, kind, dict(options), key)
        self._forget()
        self._jobs[job.id] = job
        self._keep(served, job)
        self._queue.put_nowait(job)
        return job

    async def cancel(self, job: Job) -> None:
        """Stop a job; what it has committed stays."""
        if job.final:
            return
        job.state = STOPPED
        await self._note(job, {"event": "stopped"})
        if self._current is job and self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def events(self, job: Job, after: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Yield the events of a job with their numbers, from the one after ``after`` on, until nothing more happens."""
        while True:
            while after < len(job.events):
                after += 1
                yield after, job.events[after - 1]
            if job.final:
                return
            async with self._changed:
                await self._changed.wait_for(partial(_more, job, after))

    async def _run(self) -> None:
        while True:
            job = await self._queue.get()
            if job.final:
                continue
            self._current = job
            try:
                await self._do(job)
            except Exception as error:  # the next job has to run whatever happens to this one
                _LOG.error("job %s failed", job.id, exc_info=error)
                job.state = FAILED
                known = isinstance(error, QuiverError | OSError)
                await self._note(
                    job, {"event": "failed", "detail": str(error) if known else "Quiver failed: see its log"}
                )
            finally:
                self._current = None

    async def _do(self, job: Job) -> None:
        served = next(each for each in self._catalogue.all() if each.name == job.collection)
        job.state = RUNNING
        await self._note(job, {"event": "started"})
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", _BOOT, stdin=pipe, stdout=pipe, limit=_LINE
        )
        order = {"uri": served.collection.uri, "kind": job.kind, "options": job.options, "trust": self._trust}
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{json.dumps(sys.path)}\n{json.dumps(order)}\n".encode())
        try:
            await process.stdin.drain()
            async for line in process.stdout:
                await self._note(job, json.loads(line))
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        last = job.events[-1]["event"]
        if job.state == RUNNING:
            job.state = DONE if last == "done" else FAILED
            if last not in ("done", "failed"):
                await self._note(job, {"event": "failed", "detail": "its process was killed: start it again to go on"})
        served.collection.renew()
        await asyncio.to_thread(served.look)
        self._keep(served, job)
        async with self._changed:
            self._changed.notify_all()

    async def _note(self, job: Job, event: dict[str, Any]) -> None:
        if len(job.events) < _EVENTS or event["event"] != "progress":
            job.events.append(event)
        else:
            job.events[-1] = event
        async with self._changed:
            self._changed.notify_all()

    def _keep(self, served: Served, job: Job) -> None:
        """Write a job down, so that a later process can go on; one that is over is written without its items."""
        if "://" in served.collection.uri:
            return
        held = asdict(job)
        if job.final:
            held |= {"options": {}, "events": job.events[-1:]}
        write_json(_folder(served) / f"{job.id}.json", held)

    def _unfinished(self) -> list[Job]:
        found = []
        for served in self._catalogue.all():
            if "://" in served.collection.uri:
                continue
            for path in _folder(served).glob("*.json"):
                job = _read(path)
                if job is not None and job.final:
                    self._jobs[job.id] = job
                elif job is not None and job.collection == served.name:
                    job.events.clear()
                    found.append(job)
        return found

    def _forget(self) -> None:
        over = [job for job in self.all() if job.final]
        for job in over[: max(0, len(over) - _REMEMBERED)]:
            self._jobs.pop(job.id)
            for served in self._catalogue.all():
                if served.name == job.collection and "://" not in served.collection.uri:
                    with suppress(OSError):
                        os.unlink(_folder(served) / f"{job.id}.json")


def _more(job: Job, after: int) -> bool:
    return after < len(job.events) or job.final


def _folder(served: Served) -> Path:
    return Path(served.collection.uri) / "jobs"


def _read(path: Path) -> Job | None:
    """Read a job; a damaged file is none."""
    try:
        job = Job(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return job if job.id == path.stem else None
