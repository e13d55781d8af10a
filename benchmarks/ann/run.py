"""Measure every index of every system, each in processes of its own, with the same cores and threads.

One process builds an index in a folder, and another opens and searches it. Memory is thus measured separately, slow
indexes can be built beforehand (``build_only``), and a crash or a hang affects one system only. Folders are kept, and
existing indexes are not built again.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quiver.benchmarks import datasets, peers
from quiver.benchmarks.ann.bed import Bed, lay
from quiver.benchmarks.ann.clock import Pace
from quiver.benchmarks.ann.track import KEPT, TRACKS
from quiver.benchmarks.datasets.ann import Neighbours
from quiver.benchmarks.machine import commit, machine, versions
from quiver.errors import BadSpec
from quiver.files import cache_home

FORMAT = 1
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
#: Lance gets no variable: it hangs with one thread, and respects the core binding anyway.
_POOLS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """Measurement options.

    Attributes:
        only: peers, or ``peer:index``; empty for all.
        tracks: measurements to run, among TRACKS.
        grow: whether to measure smaller parts of the base too.
        k: length of each result list.
        threads: threads of every system, which is also bound to as many cores; None for all cores.
        seed: random seed.
        work: folder for vectors and indexes; None for ``~/.cache/quiver/ann``.
        build_only: whether to build indexes without searching them.
        limit: timeout of a process in seconds.
        pace: duration limits.
    """

    only: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ("plain",)
    grow: bool = False
    k: int = 10
    threads: int | None = None
    seed: int = 0
    work: Path | None = None
    build_only: bool = False
    limit: float = 3600.0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if unknown := set(self.tracks) - set(TRACKS):
            raise BadSpec(f"tracks must be among {', '.join(TRACKS)}, not {min(unknown)!r}")
        for name in self.only:
            if name.split(":")[0] not in peers.names():
                raise BadSpec(f"--only takes {', '.join(peers.names())}, or one of them with :index, not {name!r}")

    def wants(self, peer: str, variant: str | None = None) -> bool:
        """Whether a peer, or one of its indexes, is selected."""
        pairs = [each.partition(":") for each in self.only]
        return not pairs or any(p == peer and (not v or variant in (None, v)) for p, _, v in pairs)


def measure(
    dataset: str,
    options: Options,
    *,
    command: str = "",
    say: Callable[[str], None] = print,
    keep: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Measure on the data set that a spec names.

    Args:
        dataset: a data set of vectors with known neighbours, such as ``"sift100k split=all"``.
        options: measurement options.
        command: the command line.
        say: called with progress messages.
        keep: called with the report after each system, so that an interruption loses nothing.

    Raises:
        BadData: the data is not on disk.
        BadSpec: unknown data set, or one without vectors.
    """
    task: Neighbours = datasets.load(dataset, entry="neighbours")
    threads = options.threads or os.cpu_count() or 1
    digest = hashlib.sha256(f"{dataset} {task.revision}".encode()).hexdigest()
    folder = (options.work or cache_home() / "ann") / digest[:16]
    bed = lay(task, folder / "data", seed=options.seed)
    ground = Ground(bed, folder, replace(options, threads=threads), say)
    report: Report = {
        "format": FORMAT,
        "dataset": {
            "spec": dataset,
            "name": task.name,
            "revision": task.revision,
            "rows": len(task.base),
            "dim": int(task.base.shape[1]),
            "queries": len(task.queries),
            "metric": task.metric,
            "source": task.source,
            "notes": list(task.notes),
        },
        "k": options.k,
        "threads": threads,
        "seed": options.seed,
        "clock": "cpu" if options.pace.cpu else "wall",
        "machine": machine(),
        "versions": versions(),
        "absent": [],
        "systems": [],
    }
    for name in (each for each in peers.names() if options.wants(each)):
        version = peers.installed(name)
        if version is None:
            report["absent"].append({"peer": name, "needs": peers.peer(name).PACKAGES[0]})
            continue
        for system in ground.peer(name, version, command):
            report["systems"].append(system)
            keep(report)
    return report


@dataclass(frozen=True, slots=True)
class Ground:
    """Context of a run.

    Attributes:
        bed: the data.
        folder: folder of the indexes.
        options: measurement options, with threads set.
        say: called with progress messages.
    """

    bed: Bed
    folder: Path
    options: Options
    say: Callable[[str], None]

    def peer(self, name: str, version: str, command: str) -> Iterator[Report]:
        """Measure all indexes of a peer."""
        for variant in self._variants(name, self.bed.rows):
            system: Report = {"peer": name, "index": variant.name, "version": version, "exact": variant.exact}
            stamp = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "command": command}
            system |= self._system(name, variant.name) | stamp
            if not self.options.build_only:
                yield system

    def _variants(self, name: str, rows: int) -> list[peers.Variant]:
        shape = peers.Shape(rows, self.bed.base.shape[1], self.bed.metric, self.options.threads or 1)
        return [each for each in peers.peer(name).variants(shape) if self.options.wants(name, each.name)]

    def _system(self, name: str, variant: str) -> Report:
        still = [track for track in self.options.tracks if track != "churn"]
        found: Report = self._both(name, variant, self.bed.rows, still) if still else {}
        if "churn" in self.options.tracks and "error" not in found:
            found |= self._both(name, variant, round(self.bed.rows * KEPT), ["churn"], keep=False)
        if self.options.grow and "error" not in found:
            found["growth"] = [
                {"rows": rows, **self._both(name, variant, rows, ["plain"])}
                for rows in SIZES
                if rows < self.bed.rows and variant in [each.name for each in self._variants(name, rows)]
            ]
        return found

    def _both(self, name: str, variant: str, rows: int, tracks: Sequence[str], *, keep: bool = True) -> Report:
        """Build the index unless it exists, and measure; an index that a track changes is not kept."""
        place = self.folder / str(rows) / f"{name}-{_plain(variant)}{'' if keep else '-changed'}"
        bed = {**asdict(replace(self.bed, rows=rows)), "folder": str(self.bed.folder)}
        job = {"peer": name, "variant": variant, "bed": bed, "folder": str(place / "index"), "k": self.options.k}
        job |= {"threads": self.options.threads, "pace": asdict(self.options.pace), "tracks": list(tracks)}
        note = place / f"built-{self.options.threads}.json"
        if not keep or not note.exists():
            shutil.rmtree(place, ignore_errors=True)
            self.say(f"{name} {variant}: building {rows:,} rows")
            built = self._run({**job, "action": "build"})
            if "error" in built:
                return built
            note.write_text(json.dumps(built))
        found: Report = {"build": json.loads(note.read_text())}
        if self.options.build_only and keep:
            return found
        self.say(f"{name} {variant}: {', '.join(tracks)} at {rows:,} rows")
        points = place / "points.json"
        if "plain" not in tracks and points.exists():
            job["points"] = json.loads(points.read_text())
        found |= self._run({**job, "action": "search"})
        if "points" in found:
            points.write_text(json.dumps(found["points"]))
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
        return {key: value for key, value in found.items() if key != "variant"}

    def _run(self, job: Report) -> Report:
        """Run one job in a process of its own, bound to some cores."""
        threads = self.options.threads or 1
        with tempfile.TemporaryDirectory(prefix="quiver-ann-") as place:
            given, out = Path(place, "job.json"), Path(place, "out.json")
            given.write_text(json.dumps(job))
            command = [sys.executable, "-m", "quiver.benchmarks.ann.worker", str(given), str(out)]
            pools = {f"{pool}_NUM_THREADS": str(threads) for pool in _POOLS}
            try:
                done = subprocess.run(
                    [*_bound(threads), *command],
                    env={**os.environ, **pools},
                    capture_output=True,
                    text=True,
                    timeout=self.options.limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {"error": f"timed out after {self.options.limit:.0f} s"}
            if done.returncode or not out.exists():
                said = (done.stderr or "").strip().splitlines() or [f"exit status {done.returncode}"]
                self.say(f"  failed: {said[-1]}")
                return {"error": said[-1][:300]}
            found: Report = json.loads(out.read_text())
            return found


def _bound(threads: int) -> list[str]:
    """Return the prefix that binds a command to some cores, if the system supports it."""
    if not hasattr(os, "sched_getaffinity") or not shutil.which("taskset"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:threads]
    return ["taskset", "-c", ",".join(map(str, cores))]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def merged(old: Report, new: Report) -> Report:
    """Merge a newer report into an older one: for each system, newly measured tracks replace the old.

    Raises:
        BadSpec: the reports differ in data or measurement options.
    """
    for key in ("format", "k", "threads", "seed", "clock"):
        if old.get(key) != new[key]:
            raise BadSpec(f"cannot join reports of different {key}: {old.get(key)} and {new[key]}")
    if old["dataset"]["revision"] != new["dataset"]["revision"]:
        raise BadSpec("cannot join reports of different vectors")
    systems = {(each["peer"], each["index"]): each for each in old["systems"]}
    for each in new["systems"]:
        place = each["peer"], each["index"]
        kept = {name: value for name, value in systems.get(place, {}).items() if name != "error"}
        systems[place] = {**kept, **each}
    return {**old, **new, "systems": sorted(systems.values(), key=_order)}


def _order(system: Report) -> Any:
    order = peers.names()
    return (order.index(system["peer"]) if system["peer"] in order else len(order), not system["exact"])
