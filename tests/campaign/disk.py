"""Full disks, read-only places and too little memory: one line each, and nothing acknowledged is lost.

The small disk is a tmpfs, which takes rights to mount; without them the campaign says that it was skipped.
"""

import resource
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from campaign.kills import ENVIRONMENT

import quiver
from quiver.errors import QuiverError

GROW = """
import sys, numpy as np, quiver
shop, rng, n = quiver.open(sys.argv[1], catch_up=False), np.random.default_rng(1), int(sys.argv[2])
for n in range(n, n + 400):
    shop.add_vectors(rng.normal(size=(100, 64)), ids=[f"{n}/{k}" for k in range(100)], space="s", progress=False)
    print(n, flush=True)
"""


@contextmanager
def small_disk(folder: Path, megabytes: int):
    """Mount a small disk; yields None where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def cli(*words, limit: int | None = None):
    """Run the command line, with a limit of memory in bytes; returns its status and standard error."""

    def bound():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "quiver", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, preexec_fn=bound, check=False)
    return done.returncode, done.stderr


def full(folder: Path, counts: Counter) -> None:
    """Fill a disk by adding; what was acknowledged is there, and after making room adding goes on."""
    with small_disk(folder / "disk", 12) as disk:
        if disk is None:
            counts["skipped: no right to mount a small disk"] += 1
            return
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(4_000_000))
        command = [sys.executable, "-c", GROW, str(disk / "c"), "0"]
        child = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert child.returncode, "the disk was never full"
        problem = child.stderr.strip().splitlines()[-1]
        assert problem.startswith("quiver.errors."), problem
        done = [int(line) for line in child.stdout.split()]
        shop = quiver.open(disk / "c", catch_up=False)
        assert all(len(shop.get([f"{n}/{k}" for k in range(100)])) == 100 for n in done), "acknowledged items are lost"
        assert shop.search(vectors={"s": np.ones(64)}, k=5, index="exact").ids
        ballast.unlink()
        shop.add_vectors(np.ones((1, 64)), ids=["after"], space="s", progress=False)
        assert shop.search(vectors={"s": np.ones(64)}, k=1).ids == ("after",)
        counts["full disk: acknowledged adds kept"] += len(done)


def read_only(folder: Path, counts: Counter) -> None:
    """Search and read where nothing may be written; every command that writes is one line."""
    with small_disk(folder / "frozen", 20) as disk:
        if disk is None:
            counts["skipped: no right to mount a small disk"] += 1
            return
        shop = quiver.open(disk / "c", catch_up=False)
        shop.add_vectors(np.eye(8), ids=[f"i{n}" for n in range(8)], space="s", progress=False)
        np.save(folder / "v.npy", np.eye(8))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        frozen = quiver.open(disk / "c", catch_up=False)
        assert frozen.search(vectors={"s": np.eye(8)[3]}, k=1).ids == ("i3",)
        for words in (
            ("add", disk / "c", folder / "v.npy", "--space", "s"),
            ("index", disk / "c", "faiss factory=Flat"),
            ("delete", disk / "c", "i3"),
        ):
            status, said = cli(*words)
            lines = [line for line in said.splitlines() if line.startswith("quiver:")]
            assert status == 2 and len(lines) == 1 and "Traceback" not in said, (words, said)
            counts["read-only place: one clear line"] += 1
        assert len(quiver.open(disk / "c")) == 8


def little_memory(folder: Path, counts: Counter) -> None:
    """Commands under a limit of memory work, or end with one line; the collection stays whole."""
    place = folder / "memory"
    shop, rng = quiver.open(place, catch_up=False), np.random.default_rng(2)
    shop.add_vectors(rng.normal(size=(2000, 64)), ids=[f"i{n}" for n in range(2000)], space="s", progress=False)
    np.save(folder / "more.npy", rng.normal(size=(20_000, 64)))
    for megabytes in (300, 600, 1200, 2400, 4800):
        for words in (("search", place, "--id", "i3"), ("add", place, folder / "more.npy", "--space", "s")):
            status, _ = cli(*words, limit=megabytes << 20)
            counts[f"{words[0]} with {megabytes} MB: {'done' if status == 0 else f'status {status}'}"] += 1
        now = quiver.open(place, catch_up=False)
        assert len(now.get([f"i{n}" for n in range(2000)])) == 2000
        assert now.search(like="i3", k=3, index="exact").ids


def run(folder: Path) -> Counter:
    """Do all three; returns what was seen."""
    counts: Counter = Counter()
    for campaign in (full, read_only, little_memory):
        try:
            campaign(folder, counts)
        except QuiverError as error:
            raise AssertionError(f"{campaign.__name__}: {error}") from error
    return counts
