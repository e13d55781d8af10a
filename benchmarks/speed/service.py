"""The service under load: ``python -m quiver.benchmarks.speed.service``.

Clients on this machine ask ``quiver serve`` for the 10 nearest of 100,000 x 128 vectors, with a condition on metadata
that a tenth of the items fulfil, and get ids, scores and metadata. Each client sends its next query when it has the
answer to the last one. Figures are the latency in milliseconds (p50, p95, p99), answers per second, and recall@10
against an exact search, and processor time of the server per answer, which other programs disturb least. ``library`` is
the same search by ``Collection.search`` in one process, hits read. ``--peer`` measures a server of chromadb in the same
way; ``--peer-python`` is the Python that has it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import quiver
from quiver.benchmarks.machine import commit, machine
from quiver.benchmarks.speed.exact import clusters
from quiver.types import Floats

DIM, K, BRANDS = 128, 10, 10
#: Different queries, and items of one request of an upload.
QUERIES, BLOCK = 500, 2_000


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is measured.

    Attributes:
        name: its name.
        port: its port on this machine.
        requests: one HTTP request for each query, whole.
        pid: its process.
    """

    name: str
    port: int
    requests: Sequence[bytes]
    pid: int

    def ids(self, body: bytes) -> list[str]:
        """Return the ids of an answer."""
        found = json.loads(body)
        return [hit["id"] for hit in found["hits"]] if "hits" in found else list(found["ids"][0])


def request(path: str, body: Any, port: int) -> bytes:
    """Return an HTTP request that keeps its connection open."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer.

    Raises:
        RuntimeError: it is an error.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    if length is not None:
        body = await reader.readexactly(int(length[1]))
    else:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"{head[:100]!r} {body[:300]!r}")
    return body


async def load(target: Target, clients: int, seconds: float) -> list[float]:
    """Return the milliseconds of every answer that ``clients`` clients got."""
    ms: list[float] = []
    end = perf_counter() + seconds

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        n = first
        while (now := perf_counter()) < end:
            writer.write(target.requests[n % len(target.requests)])
            await _answer(reader)
            ms.append((perf_counter() - now) * 1e3)
            n += 1
        writer.close()

    await asyncio.gather(*(client(n * 17) for n in range(clients)))
    return ms


async def answers(target: Target, count: int) -> list[list[str]]:
    """Return the ids of the answers to the first queries."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    found = []
    for each in target.requests[:count]:
        writer.write(each)
        found.append(target.ids(await _answer(reader)))
    writer.close()
    return found


def figures(ms: Sequence[float], seconds: float) -> dict[str, float]:
    """Return latencies and answers per second."""
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return {
        "p50 ms": round(p50, 2),
        "p95 ms": round(p95, 2),
        "p99 ms": round(p99, 2),
        "per second": round(len(ms) / seconds),
    }


def fill(folder: Path, vectors: Floats) -> quiver.Collection:
    """Make the collection, with an index that has a recall target."""
    shop = quiver.open(folder / "shop", catch_up=False)
    rows = len(vectors)
    meta = {"brand": [f"b{n % BRANDS}" for n in range(rows)], "price": list(range(rows))}
    shop.add_vectors(vectors, space="mine", ids=[str(n) for n in range(rows)], meta=meta, progress=False)
    shop.index(recall=0.95)
    return shop


@contextlib.contextmanager
def served(folder: Path, queries: Floats) -> Iterator[Target]:
    """Run ``quiver serve`` on the collection."""
    command = [sys.executable, "-m", "quiver", "serve", str(folder / "shop"), "--port", "0", "--shadow", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(re.findall(r":(\d+)", process.stdout.readline())[0])
        bodies = (
            {"vector": each.tolist(), "k": K, "where": f"brand = 'b{n % BRANDS}'"} for n, each in enumerate(queries)
        )
        path = "/v1/collections/shop/search"
        yield Target("quiver serve", port, [request(path, body, port) for body in bodies], process.pid)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def chroma(python: str, folder: Path, vectors: Floats, queries: Floats) -> Iterator[Target]:
    """Run chromadb's server on the same vectors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(python).parent / "chroma")
    command = [program, "run", "--path", str(folder / "chroma"), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    try:
        _wait(port)
        space = {"name": "shop", "configuration": {"hnsw": {"space": "cosine"}}}
        found = asyncio.run(_ask(port, base, space))
        for at in range(0, len(vectors), BLOCK):
            rows = range(at, min(at + BLOCK, len(vectors)))
            body = {
                "ids": [str(n) for n in rows],
                "embeddings": vectors[at : at + BLOCK].tolist(),
                "metadatas": [{"brand": f"b{n % BRANDS}", "price": n} for n in rows],
            }
            asyncio.run(_ask(port, f"{base}/{found['id']}/add", body))
        path = f"{base}/{found['id']}/query"
        bodies = (
            {
                "query_embeddings": [each.tolist()],
                "n_results": K,
                "where": {"brand": f"b{n % BRANDS}"},
                "include": ["metadatas", "distances"],
            }
            for n, each in enumerate(queries)
        )
        yield Target("chroma run", port, [request(path, body, port) for body in bodies], process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens at port {port}")


async def _ask(port: int, path: str, body: Any) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(path, body, port).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    data = await reader.read()
    writer.close()
    if b" 20" not in data.split(b"\r\n", 1)[0]:
        raise RuntimeError(str(data[:300]))
    found = data.partition(b"\r\n\r\n")[2]
    return json.loads(found[found.find(b"{") : found.rfind(b"}") + 1] or b"null")


def library(shop: quiver.Collection, queries: Floats, seconds: float) -> list[float]:
    """Return the milliseconds of the same searches without a service."""
    ms, n, end = [], 0, perf_counter() + seconds
    while perf_counter() < end:
        began = perf_counter()
        found = shop.search(vector=queries[n % len(queries)], k=K, where=f"brand = 'b{n % len(queries) % BRANDS}'")
        _ = [(hit.id, hit.score, hit.meta) for hit in found]
        ms.append((perf_counter() - began) * 1e3)
        n += 1
    return ms


def true_ids(vectors: Floats, queries: Floats, count: int) -> list[set[str]]:
    """Return the ids of the exact answers to the first queries, by cosine."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for n, query in enumerate(queries[:count]):
        rows = np.arange(n % BRANDS, len(vectors), BRANDS)
        best = np.argsort(-(unit[rows] @ query), kind="stable")[:K]
        found.append({str(row) for row in rows[best]})
    return found


def measure(target: Target, args: argparse.Namespace, true: Sequence[set[str]]) -> None:
    """Measure a server, and print its rows."""
    found = asyncio.run(answers(target, len(true)))
    recall = np.mean([len(set(ids) & right) / K for ids, right in zip(found, true, strict=True)])
    asyncio.run(load(target, 1, min(2.0, args.seconds)))
    for clients in args.clients:
        before = processor(target.pid)
        ms = asyncio.run(load(target, clients, args.seconds))
        cpu = (processor(target.pid) - before) * 1e3 / len(ms)
        told = {
            "server": target.name,
            "clients": clients,
            **figures(ms, args.seconds),
            "recall@10": round(float(recall), 3),
        }
        print(json.dumps({**told, "CPU ms": round(cpu, 2), "RSS MB": _resident(target.pid)}), flush=True)


def _resident(pid: int) -> int:
    import psutil

    return int(psutil.Process(pid).memory_info().rss >> 20)


def processor(pid: int) -> float:
    """Return the processor time of a process and its children, in seconds."""
    import psutil

    whole = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (whole, *whole.children(recursive=True)))


def main() -> None:
    """Print the measurements as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--place", help="folder of the collection, which stays for the next run")
    parser.add_argument("--peer", action="store_true", help="measure chromadb too")
    parser.add_argument("--peer-python", default=sys.executable)
    args = parser.parse_args()
    print(json.dumps({"machine": machine(), "commit": commit(), "load": os.getloadavg(), "rows": args.rows}))
    made = clusters(args.rows, dim=DIM)
    vectors, queries = made.base, made.queries[:QUERIES]
    true = true_ids(vectors, queries, 200)
    with contextlib.ExitStack() as stack:
        folder = Path(args.place or stack.enter_context(tempfile.TemporaryDirectory()))
        shop = quiver.open(folder / "shop") if (folder / "shop").exists() else fill(folder, vectors)
        library(shop, queries, 1.0)
        began = time.process_time()
        ms = library(shop, queries, args.seconds)
        cpu = (time.process_time() - began) * 1e3 / len(ms)
        told = {"server": "library", "clients": 1, **figures(ms, args.seconds), "CPU ms": round(cpu, 2)}
        print(json.dumps(told), flush=True)
        shop.close()
        with served(folder, queries) as target:
            measure(target, args, true)
        if args.peer:
            with chroma(args.peer_python, folder, vectors, queries) as target:
                measure(target, args, true)


if __name__ == "__main__":
    main()
