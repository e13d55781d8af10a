"""The parts of a running service, which every resource uses."""

import asyncio
import logging
from collections.abc import Callable
from threading import Thread
from time import monotonic, perf_counter
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from quiver.engine.execution.plan import Result
from quiver.engine.server.answers import Answers, Links
from quiver.engine.server.asked import Asked
from quiver.engine.server.gate import Gate
from quiver.engine.server.jobs import Jobs
from quiver.engine.server.keys import Key, Keys
from quiver.engine.server.media_tokens import Tokens
from quiver.engine.server.problems import Problem
from quiver.engine.server.served import Catalogue, Served
from quiver.engine.server.settings import Settings
from quiver.engine.server.thumbnails import Thumbnails
from quiver.engine.server.uploads import Decoders
from quiver.engine.server.warming import warm
from quiver.engine.server.watching import Watching
from quiver.errors import QuiverError
from quiver.trust import Reach

T = TypeVar("T")
_LOG = logging.getLogger("quiver.server")
#: Seconds that a request waits for a version which the service has not seen yet.
_PATIENCE = 2.0
_DIGITS = 18
#: Large pieces of work, such as batches and exports, that run at the same time, and that wait.
_HEAVY, _HEAVY_WAITING = 2, 32


class Service:
    """The parts of a running service.

    Attributes:
        settings: how it runs.
        catalogue: the collections.
        keys: the keys.
        tokens: tokens of links.
        gate: where searches wait.
        decoders: decode uploads.
        watching: measurements.
        answers: turns results into JSON.
        thumbnails: thumbnails that were drawn.
        jobs: long work.
        warming: whether collections are being loaded that nobody has searched yet.
        ready: whether it takes requests: False while it ends.
    """

    def __init__(
        self, catalogue: Catalogue, settings: Settings, *, keys: Keys | None = None, trust: bool = False
    ) -> None:
        self.settings, self.catalogue = settings, catalogue
        self.keys = keys or Keys()
        self.tokens = Tokens()
        self.watching = Watching(slow_ms=settings.slow_ms, shadow=settings.shadow)
        limits = settings.limits
        self.gate = Gate(together=limits.together, waiting=limits.waiting, watcher=self.watching)
        self.decoders = Decoders(limits)
        self.answers = Answers()
        self.thumbnails = Thumbnails()
        self.jobs = Jobs(catalogue, trust=trust)
        self.warming = settings.warm
        self.ready = True
        self._heavy, self._waiting = asyncio.Semaphore(_HEAVY), 0

    def warm(self) -> None:
        """Load what the first searches need, if the settings say so, in a thread that the end does not wait for."""
        if self.warming:
            Thread(target=self._warm, name="quiver-warm", daemon=True).start()

    def _warm(self) -> None:
        try:
            warm(list(self.catalogue.all()), self._is_ready)
        finally:
            self.warming = False

    def _is_ready(self) -> bool:
        return self.ready

    def close(self) -> None:
        """Release threads, processes and collections."""
        self.ready = False
        self.gate.close()
        self.decoders.close()
        self.catalogue.close()

    def collection(self, request: Request, scope: str = "search") -> Served:
        """Return the collection that a request names.

        Raises:
            Problem: it does not exist for this key, or the key may not do such work.
        """
        key = caller(request)
        served = self.catalogue.get(request.path_params["collection"], key)
        if not key.may(scope):
            raise Problem(
                403, f"this key may {' and '.join(key.scopes)}, and this needs the scope {scope}", scope=scope
            )
        return served

    def links(self, served: Served, key: Key) -> Links:
        """Return the addresses of a collection's items for a key."""
        return Links(served.name, self.tokens.make(key.id))

    async def search(self, request: Request, served: Served, wanted: Asked) -> tuple[dict[str, Any], int]:
        """Answer a query; returns the answer as JSON-compatible values, and its version."""
        key, started = caller(request), perf_counter()
        version = await self.version(request, served)
        if version is not None or (key.where is not None and wanted.query.examples):
            on = await run_in_threadpool(self._checked, served, version, wanted, key)
        else:
            on = served.collection
        links = self.links(served, key)

        def finish(result: Result) -> tuple[dict[str, Any], int]:
            found = self.answers.answer(result, wanted, links)
            spent = perf_counter() - started
            self.watching.answered(served, wanted.query, result, seconds=spent, key=key.id)
            return found, result.plan.version

        answer: tuple[dict[str, Any], int] = await self.gate.ask(
            on, wanted.query, finish, deadline=self.deadline(request)
        )
        return answer

    def _checked(self, served: Served, version: int | None, wanted: Asked, key: Key) -> Any:
        served.check_examples(wanted.query.examples, key, version=version)
        return served.at(version)

    def deadline(self, request: Request) -> float:
        """Return when nobody waits for the answer any more, in seconds of ``monotonic``."""
        most = self.settings.limits.seconds
        given = request.headers.get("quiver-deadline-ms")
        if given is not None:
            most = min(most, whole(given, "Quiver-Deadline-Ms") / 1e3)
        return monotonic() + most

    async def version(self, request: Request, served: Served) -> int | None:
        """Return the version that a request names by ``Quiver-Version``, None for the newest.

        ``Quiver-At-Least`` waits a little until the service has seen a version.

        Raises:
            Problem: it has not, or a header is no number.
        """
        least, pinned = request.headers.get("quiver-at-least"), request.headers.get("quiver-version")
        if least is not None:
            wanted, until = whole(least, "Quiver-At-Least"), monotonic() + _PATIENCE
            while (newest := await run_in_threadpool(served.look)) < wanted:
                if monotonic() > until:
                    detail = f"{served.name} is at version {newest} here, and {wanted} is asked for: try again"
                    raise Problem(503, detail, headers={"Retry-After": "1"}, kind="behind")
                await asyncio.sleep(0.05)
        return None if pinned is None else whole(pinned, "Quiver-Version")

    async def heavy(self, work: Callable[..., T], *args: Any) -> T:
        """Run a function that takes long in a thread, a few at a time.

        Raises:
            Problem: too many wait already.
        """
        if self._waiting >= _HEAVY_WAITING:
            self.watching.refused("queue")
            raise Problem(
                503, "too much work waits already: try again", headers={"Retry-After": "1"}, kind="overloaded"
            )
        self._waiting += 1
        try:
            async with self._heavy:
                return await run_in_threadpool(work, *args)
        finally:
            self._waiting -= 1

    async def follow(self) -> None:
        """Look for changes that other processes make to the collections, every so often, until it is cancelled."""
        failed: dict[str, str] = {}
        while True:
            await asyncio.sleep(self.settings.refresh)
            for served in self.catalogue.all():
                try:
                    await run_in_threadpool(served.look)
                    failed.pop(served.name, None)
                except QuiverError as error:  # it cannot be read now; searches say so too
                    if failed.get(served.name) != str(error):
                        _LOG.warning("%s", error)
                    failed[served.name] = str(error)

    async def off(self, work: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread, so that others are answered meanwhile."""
        return await run_in_threadpool(work, *args)


def caller(request: Request) -> Key:
    """Return the key of a request."""
    key: Key = request.scope["caller"]
    return key


def whole(given: str, name: str) -> int:
    """Read a whole number of at least 0.

    Raises:
        Problem: it is none.
    """
    if not given.isdecimal() or not given.isascii() or len(given) > _DIGITS:
        raise Problem(422, f"{name} is a whole number, not {given[:50]!r}")
    return int(given)


def service_of(request: Request) -> Service:
    """Return the service that a request is addressed to."""
    service: Service = request.app.state.service
    return service


def answered(value: Any, *, version: int | None = None, status: int = 200) -> Response:
    """Return JSON, with the version that it comes from."""
    headers = {} if version is None else {"Quiver-Version": str(version)}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def without_paths(request: Request, said: str) -> str:
    """Leave the folders of collections and of their files out of a message: clients have no use for them."""
    service: Service = request.app.state.service
    for served in service.catalogue.all():
        for folder in (served.collection.uri, *Reach(served.collection.uri).roots):
            said = said.replace(f"{folder}/", "").replace(folder, served.name)
    return said
