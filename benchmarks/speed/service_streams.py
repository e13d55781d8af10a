"""Vectors to and from the service as JSON and as Arrow streams: ``python -m quiver.benchmarks.speed.service_streams``.

Both ways add the same vectors in requests of the same size, and search them in batches of 256. Figures are vectors a
second, and milliseconds of processor time of this client and of the server for 1,000 vectors, which other programs
disturb least. The two ways take turns.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import quiver
from quiver.benchmarks.machine import commit, machine
from quiver.benchmarks.speed.service import processor, served
from quiver.engine.client.sending import stream, vector_column
from quiver.engine.client.transport import ARROW, Transport
from quiver.types import Floats

SHOP = "/v1/collections/shop"
BLOCK, BATCH, K = 1_000, 256, 10
_STREAM = {"Content-Type": ARROW}


class Ways:
    """The ways to send vectors to one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add_json(self, vectors: Floats, name: str) -> None:
        """Add vectors as JSON."""
        items = [{"id": f"{name}-{n}", "meta": {"price": n}} for n in range(len(vectors))]
        self._transport.ask("PUT", f"{SHOP}/items", {"items": items, "space": "mine", "vectors": vectors.tolist()})

    def add_arrow(self, vectors: Floats, name: str) -> None:
        """Add vectors as an Arrow stream."""
        ids = [f"{name}-{n}" for n in range(len(vectors))]
        table = pa.table({"id": ids, "vector": vector_column(vectors), "price": list(range(len(vectors)))})
        self._transport.ask("PUT", f"{SHOP}/items", stream(table, {"space": "mine"}), headers=_STREAM)

    def search_json(self, vectors: Floats, name: str) -> None:
        """Search by a batch of vectors as JSON."""
        queries = [{"vector": each.tolist(), "k": K, "meta": False} for each in vectors]
        found = self._transport.ask("POST", f"{SHOP}/search/batch", {"queries": queries}).json["answers"]
        assert len(found) == len(vectors) and len(found[0]["hits"]) == K, name

    def search_arrow(self, vectors: Floats, name: str) -> None:
        """Search by a batch of vectors as an Arrow stream, with the hits as one."""
        body = stream(pa.table({"vector": vector_column(vectors)}), {"k": K, "meta": False})
        answer = self._transport.ask("POST", f"{SHOP}/search/batch", body, headers={**_STREAM, "Accept": ARROW})
        with pa.ipc.open_stream(answer.body) as found:
            assert found.read_all().num_rows == K * len(vectors), name


def measure(work: Callable[[Floats, str], None], blocks: list[Floats], name: str, pid: int) -> dict[str, Any]:
    """Measure one way of sending blocks of vectors."""
    server, client, began = processor(pid), time.process_time(), time.perf_counter()
    for n, block in enumerate(blocks):
        work(block, f"{name}-{n}")
    count = sum(map(len, blocks))
    return {
        "vectors per second": round(count / (time.perf_counter() - began)),
        "server CPU ms": round((processor(pid) - server) * 1e6 / count, 1),
        "client CPU ms": round((time.process_time() - client) * 1e6 / count, 1),
    }


def main() -> None:
    """Print the measurements as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=3, help="requests of each way and turn")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps({"machine": machine(), "commit": commit(), "load": os.getloadavg(), "dim": args.dim}))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(BLOCK, args.dim)).astype(np.float32)
    with tempfile.TemporaryDirectory() as place:
        shop = quiver.open(Path(place) / "shop", catch_up=False)
        ids, meta = [str(n) for n in range(BLOCK)], {"price": list(range(BLOCK))}
        shop.add_vectors(vectors, space="mine", ids=ids, meta=meta, progress=False)
        shop.close()
        with served(Path(place), vectors[:1]) as target:
            transport = Transport(f"http://127.0.0.1:{target.port}")
            ways = Ways(transport)
            batch = vectors[:BATCH]
            ways.search_json(batch, "first")
            for turn in range(args.turns):
                for name, work, block in (
                    ("search json", ways.search_json, batch),
                    ("search arrow", ways.search_arrow, batch),
                    ("add json", ways.add_json, vectors),
                    ("add arrow", ways.add_arrow, vectors),
                ):
                    found = measure(work, [block] * args.blocks, f"{name}-{turn}", target.pid)
                    print(json.dumps({"way": name, "turn": turn, **found}), flush=True)
            transport.close()


if __name__ == "__main__":
    main()
