"""Kill -9 amid every kind of write, again and again on one collection: what was acknowledged is there, nothing is torn.

A child process draws changes from a seed and notes each one before it starts and after it returned. It is killed at a
random moment. Then every acknowledged change must be there, and every item of the change that was running must be as
before or as after it; the next child begins with that change, as a user would run the same command again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from campaign.operations import check_between, expected, state
from campaign.oracle import DIMS, METRICS, Oracle

import quiver

#: A child finds this package as its parent does.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
CHILD = "from campaign.kills import work; import sys; work(*sys.argv[1:])"


def work(place, journal, seed, first):
    """Change the collection until killed."""
    shop, rng = quiver.open(place, catch_up=False), np.random.default_rng(int(seed))
    with open(journal, "a", buffering=1, encoding="utf-8") as notes:
        job = json.loads(first) or draw(rng)
        while True:
            notes.write(json.dumps(job) + "\n")
            do(shop, job)
            notes.write("done\n")
            job = draw(rng)


def draw(rng):
    """Draw a change of ids out of 200."""
    ids = [f"i{n}" for n in rng.choice(200, int(rng.integers(1, 40)), replace=False).tolist()]
    kind = str(rng.choice(["put", "put", "update", "delete", "faiss", "lance", "tidy", "drop"]))
    space = str(rng.choice(list(METRICS)))
    if kind == "put":
        vectors = rng.normal(size=(len(ids), DIMS[space])).round(3).tolist()
        meta = {"price": rng.integers(0, 50, len(ids)).tolist()} if rng.integers(2) else {}
        return {"do": "put", "space": space, "metric": METRICS[space], "ids": ids, "vectors": vectors, "meta": meta}
    if kind == "update":
        return {"do": "update", "values": {id: {"price": int(rng.integers(99))} for id in ids[:10]}}
    if kind == "delete":
        return {"do": "delete", "ids": ids[:4]}
    return {"do": kind, "space": space}


def do(shop, job):
    """Do one change; ids that are not there are left out of updates and deletes."""
    kind = job["do"]
    if kind == "put":
        vectors, meta = np.array(job["vectors"]), job["meta"]
        shop.add_vectors(vectors, ids=job["ids"], space=job["space"], metric=job["metric"], meta=meta, progress=False)
    elif kind in ("update", "delete"):
        there = {item.id for item in shop.get(sorted(job.get("values") or job["ids"]))}
        if kind == "update":
            values = {id: row for id, row in job["values"].items() if id in there}
            _ = values and shop.update_meta(values)
        else:
            ids = [id for id in job["ids"] if id in there]
            _ = ids and shop.delete(ids)
    elif kind == "tidy":
        shop.catch_up()
    else:
        spaces = [column["space"] for column in shop.info()["columns"]]
        if job["space"] in spaces and kind == "drop":
            shop.drop(job["space"])
        elif job["space"] in spaces:
            spec = "faiss factory=HNSW8" if kind == "faiss" else "lance kind=IVF_FLAT partitions=2"
            shop.index(spec, spaces=[job["space"]])


def note(oracle, job):
    """Do the same to the oracle."""
    if job["do"] == "put":
        oracle.put(job["space"], job["ids"], job["vectors"], job["meta"])
    elif job["do"] == "update":
        oracle.update({id: row for id, row in job["values"].items() if id in oracle.meta})
    elif job["do"] == "delete":
        oracle.delete([id for id in job["ids"] if id in oracle.meta])
    elif job["do"] == "drop":
        oracle.vectors[job["space"]].clear()


def run(folder: Path, kills: int, seed: int) -> Counter:
    """Kill ``kills`` times; returns how often each kind of change was killed, and how many were acknowledged."""
    place, journal, oracle, rng = folder / "c", folder / "journal", Oracle(), np.random.default_rng(seed)
    counts, first, again, stuck = Counter(), {"do": "put", **_seedling(rng)}, None, 0
    for n in range(kills):
        journal.unlink(missing_ok=True)
        words = [str(place), str(journal), str(seed * 100_000 + n), json.dumps(first)]
        child = subprocess.Popen([sys.executable, "-c", CHILD, *words], start_new_session=True, env=ENVIRONMENT)
        while not journal.exists() and child.poll() is None:
            time.sleep(0.005)
        stuck = stuck + 1 if first == again else 0
        again = first
        time.sleep(float(rng.uniform(0, 0.6 * 2**stuck)))  # on a slow machine too, changes get done
        assert child.poll() is None, f"the process ended by itself with {child.returncode}"
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        first = _check(quiver.open(place, catch_up=False), journal, oracle, counts, first)
    do(quiver.open(place, catch_up=False), first) if first else None
    note(oracle, first or {"do": "none"})
    check_between(state(quiver.open(place)), expected(oracle), expected(oracle))
    return counts


def _seedling(rng):
    ids = [f"i{n}" for n in range(60)]
    vectors = rng.normal(size=(60, DIMS["round"])).round(3).tolist()
    return {"space": "round", "metric": "cosine", "ids": ids, "vectors": vectors, "meta": {"price": [1] * 60}}


def _check(shop, journal, oracle, counts, first):
    """Replay what was acknowledged, compare, and return the change that was running.

    A child that was killed before its first note leaves ``first`` as half done as it found it.
    """
    lines = journal.read_text(encoding="utf-8").splitlines()
    if lines and lines[-1] != "done":
        try:
            json.loads(lines[-1])
        except json.JSONDecodeError:
            lines.pop()  # the note itself was cut off, so that the change never started
    jobs = [json.loads(line) for line in lines if line != "done"]
    running = jobs.pop() if lines and lines[-1] != "done" else None if lines else first
    for job in jobs:
        note(oracle, job)
        counts["acknowledged"] += 1
    after = oracle.copy()
    if running:
        note(after, running)
        counts[f"killed amid {running['do']}"] += 1
    try:
        found = state(shop)
    except quiver.QuiverError:
        assert not oracle.meta, "a collection with acknowledged items does not open"
        found = {}
    check_between(found, expected(oracle), expected(after))
    if running and running["do"] == "drop":  # whole or not at all
        left = sum(running["space"] in scores for _, scores in found.values())
        assert left in (0, len(oracle.vectors[running["space"]]))
    return running
