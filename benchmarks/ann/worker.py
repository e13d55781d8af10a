"""Worker process of a benchmark: builds one index of one system, or opens and searches it; see ``run``.

``python -m quiver.benchmarks.ann.worker JOB OUT`` reads a job as JSON and writes the results.
"""

import json
import resource
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from quiver.benchmarks import peers
from quiver.benchmarks.ann import track
from quiver.benchmarks.ann.bed import Bed
from quiver.benchmarks.ann.clock import Pace, disk_mib, peak_mib, reset_peak
from quiver.benchmarks.ann.track import Work
from quiver.benchmarks.machine import resident_mib

Job = dict[str, Any]


def work_of(job: Job) -> Work:
    """Return peer, variant and data of a job."""
    bed = Bed(**{**job["bed"], "folder": Path(job["bed"]["folder"])})
    shape = peers.Shape(bed.rows, bed.base.shape[1], bed.metric, job["threads"])
    module = peers.peer(job["peer"])
    variant = next(each for each in module.variants(shape) if each.name == job["variant"])
    return Work(module, variant, shape, bed, Path(job["folder"]), job["k"], Pace(**job["pace"]))


def build(work: Work) -> dict[str, Any]:
    """Build an index; return wall seconds, core seconds, memory, and size on disk.

    Memory is the growth of the process; the base is memory-mapped, and the pages that were read are included.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    bed = work.bed
    columns, vectors = bed.columns, bed.base[: bed.rows]
    reset_peak()
    memory, before, started = resident_mib(), _core_seconds(), perf_counter()
    work.module.build(peers.Given(work.folder, vectors, columns, work.shape), work.variant)
    return {
        "wall_s": perf_counter() - started,
        "core_s": _core_seconds() - before,
        "peak_mib": peak_mib() - memory,
        "disk_mib": disk_mib(work.folder),
    }


def _core_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def search(work: Work, job: Job) -> dict[str, Any]:
    """Open an index and run the tracks of the job; settings come from given points, or are measured here."""
    reset_peak()
    before, cores, started = resident_mib(), _core_seconds(), perf_counter()
    system = work.module.open(work.folder, work.variant, work.shape)
    opened = {"wall_s": perf_counter() - started, "core_s": _core_seconds() - cores}
    found: dict[str, Any] = {"open": opened}
    points = job.get("points") or []
    if "plain" in job["tracks"]:
        found |= track.plain(work, system, before=before)
        points = found["points"]
    if "overhead" in job["tracks"]:
        found |= track.overhead(work, system, points)
    if "beyond" in job["tracks"]:
        found |= track.beyond(work, system)
    if "filter" in job["tracks"]:
        found |= track.filtered(work, system, points)
    if "churn" in job["tracks"]:
        found |= track.churn(work, system)
    return found


def main() -> None:
    """Do the job."""
    warnings.simplefilter("ignore")  # warnings of peers about unusual use
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    work = work_of(job)
    found = build(work) if job["action"] == "build" else search(work, job)
    Path(sys.argv[2]).write_text(json.dumps({**found, "variant": asdict(work.variant)}), "utf-8")


if __name__ == "__main__":
    main()
