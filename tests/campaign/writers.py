"""Six processes write one collection at once, with overlapping ids, while others read and delete.

Three writers own a space each, and two a metadata column each; all of them change the same ids, each in its own order.
One deletes ids that nobody else names. At the end every id is there once, with the last vector and value of each owner.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from campaign.kills import ENVIRONMENT
from campaign.operations import alike, expected, state
from campaign.oracle import DIMS, METRICS, Oracle

import quiver

CHILD = "from campaign.writers import work; import sys; work(*sys.argv[1:])"
WRITERS = (*METRICS, "price", "size", "delete")
IDS = 60


def jobs(owner: str, rounds: int) -> list[dict]:
    """What an owner does, in order; the same whenever it is asked."""
    rng, made = np.random.default_rng(WRITERS.index(owner)), []
    for n in range(rounds):
        ids = [f"i{each}" for each in rng.permutation(IDS)[: int(rng.integers(5, IDS))].tolist()]
        if owner in METRICS:
            made.append({"ids": ids, "vectors": rng.normal(size=(len(ids), DIMS[owner])).round(3).tolist()})
        elif owner == "delete":
            made.append({"ids": [f"gone{n}a", f"gone{n}b"], "vectors": np.eye(2, DIMS["round"]).tolist()})
        else:
            made.append({"values": {id: {owner: int(rng.integers(1000))} for id in ids}})
    return made


def work(place: str, owner: str, rounds: str, gate: str) -> None:
    """Do all the changes of an owner, from the moment that the gate opens."""
    Path(gate).with_suffix(f".{owner}").touch()
    while not os.path.exists(gate):
        time.sleep(0.001)
    shop = quiver.open(place, catch_up=False)
    for job in jobs(owner, int(rounds)):
        if "values" in job:
            shop.update_meta(job["values"])
            continue
        space = "round" if owner == "delete" else owner
        shop.add_vectors(np.array(job["vectors"]), ids=job["ids"], space=space, metric=METRICS[space], progress=False)
        if owner == "delete":
            assert shop.delete(job["ids"]) == len(job["ids"])


def read(place: str, until: str) -> None:
    """Search and read until told to stop; no id may come twice, and nothing may fail."""
    shop, count = quiver.open(place, catch_up=False), 0
    while not os.path.exists(until):
        ids = shop.search(vectors={"round": np.ones(DIMS["round"], np.float32)}, k=IDS + 20).ids
        assert len(set(ids)) == len(ids), "an id was found twice"
        assert len(shop.get([f"i{n}" for n in range(IDS)])) == IDS
        count += 1
    print(json.dumps({"searches": count}))


def run(folder: Path, rounds: int) -> dict[str, int]:
    """Let all of them loose; returns how many changes and searches were made."""
    place, gate, stop = folder / "c", folder / "gate", folder / "stop"
    oracle, ids = Oracle(), [f"i{n}" for n in range(IDS)]
    first = np.random.default_rng(9).normal(size=(IDS, DIMS["round"])).round(3).tolist()
    shop = quiver.open(place, catch_up=False)
    meta = {"price": [0] * IDS, "size": [0] * IDS}
    shop.add_vectors(np.array(first), ids=ids, space="round", metric="cosine", meta=meta, progress=False)
    oracle.put("round", ids, first, meta)
    reader = subprocess.Popen(
        [sys.executable, "-c", CHILD.replace("work", "read"), str(place), str(stop)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
    )
    words = [[str(place), owner, str(rounds), str(gate)] for owner in WRITERS]
    writers = [subprocess.Popen([sys.executable, "-c", CHILD, *each], env=ENVIRONMENT) for each in words]
    while not all(gate.with_suffix(f".{owner}").exists() for owner in WRITERS):
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.01)
    gate.touch()
    assert [writer.wait() for writer in writers] == [0] * len(writers)
    stop.touch()
    said, _ = reader.communicate()
    assert reader.returncode == 0
    for owner in WRITERS:
        for job in jobs(owner, rounds):
            if owner in METRICS:
                oracle.put(owner, job["ids"], job["vectors"], {})
            elif owner != "delete":
                oracle.update(job["values"])
    found, wanted = state(quiver.open(place)), expected(oracle)
    odd = [(id, found.get(id), wanted.get(id)) for id in {*found, *wanted} if not alike(found.get(id), wanted.get(id))]
    assert not odd, f"{len(odd)} items are not as their owners left them: {odd[:3]}"
    return {"changes": len(WRITERS) * rounds, **json.loads(said)}
