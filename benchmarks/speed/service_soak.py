"""Memory of the service over an hour: ``python -m quiver.benchmarks.speed.service_soak --minutes 60``.

Clients ask ``quiver serve`` for everything at a gentle rate: searches by words, by stored items and by uploaded
pictures, batches, pages, facets, items, thumbnails and files, and they add, change and delete items. Each minute prints
the resident memory, open files and threads of the server and of its workers. The end compares the two halves of the
time, without the minutes in which caches fill (``--warm``), and gives the slope by least squares.
"""

import argparse
import contextlib
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

import quiver
from quiver.benchmarks.machine import commit, machine
from quiver.engine.client.transport import Transport
from quiver.errors import QuiverError

SHOP = "/v1/collections/shop"
COLOURS = ("red", "green", "blue", "grey")
PICTURES, SIDE, OWN = 120, 96, 40
#: Threads that ask.
CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Minute:
    """What was seen at the end of a minute.

    Attributes:
        minute: its number.
        rss_mb: resident memory of the server, in MB.
        workers_mb: resident memory of its workers.
        files: open files of the server.
        threads: its threads.
        workers: number of its workers.
        answers: answers of this minute.
        refused: requests of this minute that were answered by an error.
        p50_ms: median time to answer, in milliseconds.
        cpu_s: processor time of the server and its workers in this minute, in seconds.
        version: newest version of the collection.
    """

    minute: int
    rss_mb: float
    workers_mb: float
    files: int
    threads: int
    workers: int
    answers: int
    refused: int
    p50_ms: float
    cpu_s: float
    version: int


def fill(folder: Path) -> None:
    """Make a collection of small pictures with metadata."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    rng, lines = np.random.default_rng(0), ["file,colour,price,name"]
    for n in range(PICTURES):
        colour = COLOURS[n % len(COLOURS)]
        (photos / f"{n}.jpg").write_bytes(picture(rng))
        lines.append(f"{n}.jpg,{colour},{n},the {colour} thing number {n}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    shop = quiver.open(folder / "shop", catch_up=False)
    shop.add(photos, meta=folder / "photos.csv", encoder="classic", id_column="none", workers=0, progress=False)
    shop.close()


def picture(rng: np.random.Generator) -> bytes:
    """Return a JPEG of one colour with noise."""
    from PIL import Image

    held = io.BytesIO()
    pixels = rng.integers(0, 200, 3) + rng.integers(0, 55, (SIDE, SIDE, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(held, "JPEG")
    return held.getvalue()


class Client:
    """Asks for one thing after another.

    Args:
        transport: where to ask.
        seed: seed of its choices.
    """

    def __init__(self, transport: Transport, seed: int) -> None:
        self._transport, self._rng = transport, random.Random(seed)
        draw = np.random.default_rng(seed)
        self._uploads = [picture(draw) for _ in range(16)]
        #: What it does, and how often.
        self.kinds: tuple[tuple[int, Callable[[], object]], ...] = (
            (300, self._words), (200, self._like), (15, self._batch), (30, self._upload), (50, self._facets),
            (20, self._pages), (100, self._thumbnail), (60, self._file), (60, self._item), (10, self._metrics),
            (5, self._add), (3, self._patch), (2, self._delete), (20, self._mistake),
        )  # fmt: skip

    def fill(self) -> None:
        """Ask for every thumbnail, since the service keeps them."""
        for n in range(PICTURES):
            for size in (192, 384):
                self._transport.ask("GET", f"{SHOP}/items/photos%2F{n}.jpg/thumbnail?size={size}")

    def ask(self) -> None:
        """Ask for one thing."""
        weights = [weight for weight, _ in self.kinds]
        (_, ask) = self._rng.choices(self.kinds, weights)[0]
        ask()

    def _search(self, words: dict[str, Any], **more: Any) -> Any:
        return self._transport.ask("POST", f"{SHOP}/search", {"k": 10, **words}, **more).json

    def _id(self) -> str:
        return f"photos%2F{self._rng.randrange(PICTURES)}.jpg"

    def _words(self) -> None:
        colour, most = self._rng.choice(COLOURS), self._rng.randrange(1, PICTURES)
        self._search({"text": f"{colour} thing", "where": f"price < {most}"})

    def _like(self) -> None:
        self._search({"like": self._id().replace("%2F", "/"), "explain": self._rng.choice([False, "analyze", "plan"])})

    def _batch(self) -> None:
        queries = [{"like": self._id().replace("%2F", "/"), "k": 3} for _ in range(8)]
        self._transport.ask("POST", f"{SHOP}/search/batch", {"queries": queries})

    def _upload(self) -> None:
        self._search({}, files=[("image", "a.jpg", self._rng.choice(self._uploads))])

    def _facets(self) -> None:
        self._transport.ask("POST", f"{SHOP}/facets", {"column": self._rng.choice(["colour", "price"])})

    def _pages(self) -> None:
        told = self._transport.ask("POST", f"{SHOP}/pages", {"text": "thing", "k": 5}).json
        if "next" in told:
            self._transport.ask("GET", f"{SHOP}/pages/{told['next']}")

    def _thumbnail(self) -> None:
        self._transport.ask("GET", f"{SHOP}/items/{self._id()}/thumbnail?size={self._rng.choice([192, 384])}")

    def _file(self) -> None:
        self._transport.ask("GET", f"{SHOP}/items/{self._id()}/media/image")

    def _item(self) -> None:
        self._transport.ask("GET", f"{SHOP}/items/{self._id()}")

    def _metrics(self) -> None:
        self._transport.ask("GET", self._rng.choice(["/metrics", "/readyz", SHOP, f"{SHOP}/versions", "/docs"]))

    def _add(self) -> None:
        row = {"id": f"own{self._rng.randrange(OWN)}", "image": "a.jpg", "meta": {"price": self._rng.randrange(99)}}
        upload = ("file", "a.jpg", self._rng.choice(self._uploads))
        self._transport.ask("PUT", f"{SHOP}/items", {"items": [row]}, files=[upload], part="items")

    def _patch(self) -> None:
        id, price = self._id().replace("%2F", "/"), self._rng.randrange(PICTURES)
        self._transport.ask("PATCH", f"{SHOP}/items", {"values": {id: {"price": price}}})

    def _delete(self) -> None:
        ids = [f"own{self._rng.randrange(OWN)}"]
        self._transport.ask("DELETE", f"{SHOP}/items", {"ids": ids, "missing_ok": True})

    def _mistake(self) -> None:
        with contextlib.suppress(QuiverError):
            self._search(self._rng.choice([{"text": "x", "where": "prize < 3"}, {"like": "nobody"}, {"n": 3}]))


class Soak:
    """Clients that ask at a rate, and what was seen of their server.

    Args:
        base: address of the service.
        pid: its process.
        rate: requests a second of all clients.
    """

    def __init__(self, base: str, pid: int, rate: float) -> None:
        self._transport, self._server = Transport(base), psutil.Process(pid)
        self._rate, self._end = rate, threading.Event()
        self._lock = threading.Lock()
        self._ms: list[float] = []
        self._refused: Counter[str] = Counter()

    def run(self, minutes: int) -> Iterator[Minute]:
        """Ask for some minutes; yields what is seen at the end of each."""
        Client(self._transport, 0).fill()
        threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(CLIENTS)]
        for each in threads:
            each.start()
        try:
            spent, began = self._processor(), time.monotonic()
            for minute in range(1, minutes + 1):
                time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
                now = self._processor()
                yield self._seen(minute, now - spent)
                spent = now
        finally:
            self._end.set()
            for each in threads:
                each.join()
            self._transport.close()

    def _client(self, number: int) -> None:
        client, rng = Client(self._transport, number), random.Random(number)
        while not self._end.wait(rng.expovariate(self._rate / CLIENTS)):
            began = time.perf_counter()
            try:
                client.ask()
            except QuiverError as error:
                with self._lock:
                    self._refused[str(error)] += 1
            with self._lock:
                self._ms.append((time.perf_counter() - began) * 1e3)

    def _processor(self) -> float:
        spent = 0.0
        for each in (self._server, *self._server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                spent += times.user + times.system
        return spent + sum(self._server.cpu_times()[2:4])  # workers that ended count too

    def _seen(self, minute: int, spent: float) -> Minute:
        with self._lock:
            ms, self._ms = self._ms, []
            refused, self._refused = self._refused, Counter()
        for said, count in refused.most_common(3):
            print(json.dumps({"refused": said, "times": count}), flush=True)
        workers = self._server.children(recursive=True)
        held = 0
        for each in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                held += each.memory_info().rss
        version = int(self._transport.ask("GET", f"{SHOP}").headers["quiver-version"])
        return Minute(
            minute, round(self._server.memory_info().rss / 2**20, 1), round(held / 2**20, 1), self._server.num_fds(),
            self._server.num_threads(), len(workers), len(ms), sum(refused.values()), round(median(ms or [0.0]), 2),
            round(spent, 2), version,
        )  # fmt: skip


def halves(seen: Sequence[Minute], warm: int) -> dict[str, Any]:
    """Compare the two halves of the time after the first ``warm`` minutes.

    Returns:
        The median of each half of memory, open files and threads, and the slope of the memory in MB per hour.
    """
    kept = [each for each in seen if each.minute > warm] or list(seen)
    middle = len(kept) // 2
    told: dict[str, Any] = {"minutes": len(kept), "answers": sum(each.answers for each in kept)}
    for name in ("rss_mb", "workers_mb", "files", "threads"):
        values = [getattr(each, name) for each in kept]
        told[name] = [median(values[:middle] or values), median(values[middle:])]
    if len(kept) > 1:
        slope = np.polyfit([each.minute for each in kept], [each.rss_mb for each in kept], 1)[0]
        told["mb_per_hour"] = round(float(slope) * 60, 2)
    return told


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Run ``quiver serve``; yields its address and its process."""
    command = [sys.executable, "-m", "quiver", "serve", str(folder / "shop"), "--port", "0", "--shadow", "100"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+?:\d+", process.stdout.readline())
        assert found is not None
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Print one JSON line a minute, and the comparison of the halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--warm", type=int, default=5, help="minutes that do not count, in which caches fill")
    args = parser.parse_args()
    print(json.dumps({"machine": machine(), "commit": commit(), "rate": args.rate}), flush=True)
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place))
        seen = []
        with served(Path(place)) as (base, pid):
            for minute in Soak(base, pid, args.rate).run(args.minutes):
                seen.append(minute)
                print(json.dumps(asdict(minute)), flush=True)
    print(json.dumps({"halves": halves(seen, args.warm)}), flush=True)


if __name__ == "__main__":
    main()
