"""Random operations on a collection and on its oracle at once; every step is drawn from one seed and logged."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from campaign.oracle import DIMS, METRICS, Oracle, check_groups, check_hits

import quiver
from quiver import Query, QuiverError

COLOURS = ("red", "green", "blue", "it's odd", "grün")
KINDS = (
    "faiss factory=Flat",
    "faiss factory=HNSW8",
    "faiss factory=IVF4,Flat nprobe=4",
    "lance kind=IVF_FLAT partitions=2",
)
#: Does one operation in a process that may be killed.
CHILD = """
import json, sys
import numpy as np, quiver
shop, job = quiver.open(sys.argv[1], catch_up=False), json.loads(sys.argv[2])
print("ready", flush=True)
if job["do"] == "put":
    shop.add_vectors(np.array(job["vectors"]), ids=job["ids"], space=job["space"], metric=job["metric"],
                     meta=job["meta"], progress=False)
elif job["do"] == "update":
    shop.update_meta(job["values"])
else:
    shop.delete(job["ids"])
"""


class Campaign:
    """One run: a collection in a folder, the oracle beside it, and versions that were pinned on the way."""

    def __init__(self, folder: Path, seed: int, *, log=None):
        self.rng = np.random.default_rng(seed)
        self.place, self.oracle, self.log = folder / f"soak{seed}", Oracle(), log or (lambda line: None)
        self.shop = quiver.open(self.place, catch_up=False)
        self.pinned: list[tuple[int, Oracle, Query, list]] = []
        self.steps = 0
        self.put()

    def step(self):
        """Do one operation that changes something, and ask one question."""
        changes = {
            self.put: 6, self.update: 4, self.delete: 2, self.delete_where: 1,
            self.index: 1, self.catch_up: 1, self.check: 0.3, self.reopen: 1, self.pin: 1, self.prune: 0.5,
            self.drop: 0.3,
        }  # fmt: skip
        questions = {
            self.search: 6, self.batch: 2, self.groups: 2, self.pages: 1, self.examples: 2,
            self.longer: 1, self.everything: 1, self.recall_pinned: 1, self.closer: 1,
        }  # fmt: skip
        for table in (changes, questions):
            if not any(self.oracle.vectors.values()):
                self.put()  # there is nothing left to ask for
            odds = np.array(list(table.values()))
            chosen = list(table)[self.rng.choice(len(odds), p=odds / odds.sum())]
            self.log(f"{self.steps}: {chosen.__name__}")
            chosen()
        self.steps += 1

    # Changes.

    def put(self):
        job = self._put()
        self._do_put(job)

    def update(self):
        values = self._update()
        if values:
            self.shop.update_meta(values)
            self.oracle.update(values)

    def delete(self):
        ids = self._some(3)
        if ids:
            assert self.shop.delete(ids) == len(ids)
            self.oracle.delete(ids)

    def delete_where(self):
        where, allowed = self._condition()
        ids = [id for id in self.oracle.meta if allowed(self.oracle.meta[id])]
        if where and len(ids) < len(self.oracle.meta) / 4:
            assert self.shop.delete(where=where) == len(ids), where
            self.oracle.delete(ids)

    def index(self):
        space = self._space()
        if len(self.oracle.vectors[space]) >= 40:
            self.shop.index(str(self.rng.choice(KINDS)), spaces=[space])

    def drop(self):
        space = self._space()
        if sum(map(bool, self.oracle.vectors.values())) > 1:
            (column,) = self.shop.drop(space).columns
            assert column.vectors == len(self.oracle.vectors[space])
            self.oracle.vectors[space].clear()

    def catch_up(self):
        self.shop.catch_up()

    def check(self):
        if any(len(stored) >= 40 for stored in self.oracle.vectors.values()):
            self.shop.check()

    def reopen(self):
        self.shop = quiver.open(self.place, catch_up=bool(self.rng.integers(2)))

    def prune(self):
        """Prune everything but the newest version; what was pinned is gone, and says so."""
        self.shop.prune(days=0)
        newest = self.shop.versions()[-1]["version"]
        gone = [version for version, *_ in self.pinned if version != newest]
        self.pinned = [each for each in self.pinned if each[0] == newest]
        for version in gone:
            with pytest.raises(QuiverError):
                self.shop.checkout(version)

    def pin(self):
        space = self._space()
        query = Query(vectors={space: self._vector(space)}, k=7, index="exact")
        result = self.shop.search(query)
        self.pinned.append((result.plan.version, self.oracle.copy(), query, pairs(result)))

    def crash(self):
        """Kill a process amid a change: every item is as before or as after, and the same change completes it."""
        job = self._put() if self.rng.integers(2) else {"do": "update", "values": self._update()}
        if job["do"] == "update" and not job["values"]:
            return
        child = subprocess.Popen([sys.executable, "-c", CHILD, self.place, json.dumps(job)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        time.sleep(float(self.rng.uniform(0, 0.15)))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        after = self.oracle.copy()
        if job["do"] == "put":
            after.put(job["space"], job["ids"], job["vectors"], job["meta"])
        else:
            after.update(job["values"])
        self.shop = quiver.open(self.place, catch_up=False)
        found, before, wanted = state(self.shop), expected(self.oracle), expected(after)
        check_between(found, before, wanted)
        self.log(
            f"{self.steps}: killed; {sum(alike(found.get(id), wanted[id]) for id in wanted)} of {len(wanted)} done"
        )
        if job["do"] == "put":
            self._do_put(job)
        else:
            self.shop.update_meta(job["values"])
            self.oracle = after
        self.everything()

    # Questions.

    def search(self):
        space, (where, allowed), k = self._space(), self._condition(), int(self.rng.integers(1, 30))
        vector, exact = self._vector(space), bool(self.rng.integers(2))
        ids = [id for id, meta in self.oracle.meta.items() if allowed(meta)]
        result = self.shop.search(vectors={space: vector}, where=where, k=k, index="exact" if exact else None)
        scores = self.oracle.scores(space, vector, ids)
        exact = exact or any("exact scan" in str(stage) for stage in result.plan.stages)
        check_hits(pairs(result), scores, k, self.oracle.tolerance(space, vector), exact=exact)
        for hit in result:
            assert hit.meta == self.oracle.meta[hit.id]

    def batch(self):
        """A batch equals its queries one by one, to the bit."""
        space, (where, _), k = self._space(), self._condition(), int(self.rng.integers(1, 12))
        vectors = np.stack([self._vector(space) for _ in range(int(self.rng.integers(2, 9)))])
        alone = [self.shop.search(vectors={space: v}, where=where, k=k, index="exact") for v in vectors]
        together = self.shop.search_batch(vectors={space: vectors}, where=where, k=k, index="exact")
        assert [pairs(each) for each in together] == [pairs(each) for each in alone]

    def groups(self):
        space, (where, allowed) = self._space(), self._condition()
        k, each, vector = int(self.rng.integers(1, 6)), int(self.rng.integers(1, 4)), self._vector(space)
        if "colour" not in self.shop.info()["meta"]:
            return
        ids = [id for id, meta in self.oracle.meta.items() if allowed(meta)]
        ask = {"where": where, "k": k, "group_by": "colour", "group_size": each, "index": "exact"}
        hits = pairs(self.shop.search(vectors={space: vector}, **ask))
        scores = self.oracle.scores(space, vector, ids)
        group = lambda id: self.oracle.meta[id].get("colour", ("alone", id))  # noqa: E731
        check_groups(hits, scores, group, k, each, self.oracle.tolerance(space, vector))

    def pages(self):
        space, k = self._space(), int(self.rng.integers(5, 40))
        vector = self._vector(space)
        found = [pair for page in self.shop.pages(vectors={space: vector}, k=k, index="exact") for pair in pairs(page)]
        scores = self.oracle.scores(space, vector, self.oracle.meta)
        check_hits(found, scores, max(len(scores), 1), self.oracle.tolerance(space, vector))

    def examples(self):
        space = self._space()
        stored = sorted(self.oracle.vectors[space])
        if len(stored) < 6:
            return
        chosen = self.rng.permutation(stored)[: int(self.rng.integers(1, 5))].tolist()
        like, unlike = chosen[: max(1, len(chosen) // 2)], chosen[max(1, len(chosen) // 2) :]
        vector = self.oracle.example(space, like, unlike)
        if np.linalg.norm(vector) < 1e-3:
            return
        result = self.shop.search(like=like, unlike=unlike, spaces=[space], k=9, index="exact")
        scores = self.oracle.scores(space, vector, [id for id in stored if id not in chosen])
        check_hits(pairs(result), scores, 9, 4 * self.oracle.tolerance(space, vector))

    def longer(self):
        """k + 1 hits begin with the k hits; a condition that all rows pass changes nothing."""
        space, k = self._space(), int(self.rng.integers(1, 20))
        ask = {"vectors": {space: self._vector(space)}, "index": "exact"}
        short, long = pairs(self.shop.search(**ask, k=k)), pairs(self.shop.search(**ask, k=k + 1))
        assert long[:k] == short
        if "price" in self.shop.info()["meta"]:
            assert pairs(self.shop.search(**ask, k=k, where="price >= 0 OR price < 0 OR price IS NULL")) == short

    def closer(self):
        """An item that is added removes nothing that is nearer."""
        space = self._space()
        vector = self._vector(space)
        ask = {"vectors": {space: vector}, "index": "exact"}
        before = pairs(self.shop.search(**ask, k=10))
        self.put()
        after = pairs(self.shop.search(**ask, k=10))
        kept = [
            pair for pair in before if np.array_equal(self.before(space, pair[0]), self.oracle.vectors[space][pair[0]])
        ]
        worst = after[-1][1] if len(after) == 10 else -np.inf
        assert all(pair in after for pair in kept if pair[1] > worst)

    def everything(self):
        found, wanted = state(self.shop), expected(self.oracle)
        odd = [
            (id, found.get(id), wanted.get(id)) for id in {*found, *wanted} if not alike(found.get(id), wanted.get(id))
        ]
        assert not odd, f"the collection does not hold what was put into it: {odd[:3]}"

    def recall_pinned(self):
        """A pinned version answers the same, to the bit, whatever came later."""
        if not self.pinned:
            return
        version, oracle, query, expected = self.pinned[self.rng.integers(len(self.pinned))]
        then = self.shop.checkout(version)
        assert len(then) == len(oracle.meta)
        assert pairs(then.search(query)) == expected

    # What is drawn.

    def before(self, space, id):
        return self._previous.get((space, id))

    def _do_put(self, job):
        self._previous = {(space, id): v for space, stored in self.oracle.vectors.items() for id, v in stored.items()}
        self.shop.add_vectors(
            np.array(job["vectors"]), ids=job["ids"], space=job["space"], metric=job["metric"], meta=job["meta"],
            progress=False,
        )  # fmt: skip
        self.oracle.put(job["space"], job["ids"], job["vectors"], job["meta"])

    def _put(self):
        space, count = self._space(fresh=True), int(self.rng.choice([1, 3, 20, 60]))
        known = self._some(count // 3) if self.oracle.meta else []
        ids = [*known, *(f"i{self.rng.integers(10**9)}" for _ in range(count - len(known)))]
        vectors = np.stack([self._vector(space) for _ in ids])
        meta = {}
        if self.rng.integers(3):
            meta = {
                "price": self.rng.integers(0, 50, len(ids)).tolist(),
                "colour": self.rng.choice(COLOURS, len(ids)).tolist(),
            }
        return {
            "do": "put",
            "space": space,
            "metric": METRICS[space],
            "ids": ids,
            "vectors": vectors.tolist(),
            "meta": meta,
        }

    def _update(self):
        return {
            id: {"colour": str(self.rng.choice(COLOURS))}
            if self.rng.integers(2)
            else {"price": int(self.rng.integers(60))}
            for id in self._some(5)
        }

    def _some(self, count):
        ids = sorted(self.oracle.meta)
        return self.rng.permutation(ids)[:count].tolist() if ids else []

    def _space(self, *, fresh=False):
        names = [name for name in METRICS if self.oracle.vectors[name]]
        return str(self.rng.choice(list(METRICS) if fresh or not names else names))

    def _vector(self, space):
        """Draw a vector: ordinary, on an axis, a copy of a stored one, or very near to one."""
        kind, dim = self.rng.integers(8), DIMS[space]
        stored = self.oracle.vectors[space]
        if kind == 0:
            return np.eye(dim, dtype=np.float32)[self.rng.integers(dim)]
        if kind < 3 and stored:
            copied = stored[sorted(stored)[self.rng.integers(len(stored))]]
            return copied if kind == 1 else (copied * np.float32(1 + 1e-6)).astype(np.float32)
        scale = 1.0 if space == "round" else float(self.rng.choice([1e-3, 1.0, 30.0]))
        return (self.rng.normal(size=dim) * scale).astype(np.float32)

    def _condition(self):
        """Draw a condition, and the same as a function of metadata; comparisons with null are not true."""
        known = self.shop.info()["meta"]
        if not {"price", "colour"} <= set(known) or not self.rng.integers(3):
            return None, lambda meta: True
        limit, colour = int(self.rng.integers(0, 60)), str(self.rng.choice(COLOURS))
        quoted = "'" + colour.replace("'", "''") + "'"
        price, kind = lambda meta: meta.get("price"), lambda meta: meta.get("colour")
        choices = [
            (f"price < {limit}", lambda m: price(m) is not None and price(m) < limit),
            (f"price >= {limit}.5", lambda m: price(m) is not None and price(m) >= limit + 0.5),
            (f"colour = {quoted}", lambda m: kind(m) == colour),
            (f"colour <> {quoted}", lambda m: kind(m) is not None and kind(m) != colour),
            (f"NOT (price < {limit})", lambda m: price(m) is not None and price(m) >= limit),
            ("colour IS NULL", lambda m: kind(m) is None),
            (f"price BETWEEN 5 AND {limit}", lambda m: price(m) is not None and 5 <= price(m) <= limit),
            (f"colour IN ('red', {quoted})", lambda m: kind(m) in ("red", colour)),
        ]
        (a, left), (b, right) = (choices[n] for n in self.rng.choice(len(choices), 2))
        if self.rng.integers(2):
            return a, left
        if self.rng.integers(2):
            return f"({a}) OR ({b})", lambda m: left(m) or right(m)
        return f"({a}) AND ({b})", lambda m: left(m) and right(m)


def state(shop):
    """What a collection holds: metadata, and a score in each space, by id."""
    items = shop.head(1_000_000) if len(shop) else []
    found: dict[str, tuple[dict, dict]] = {item.id: (dict(item.meta), {}) for item in items}
    for space in [column["space"] for column in shop.info()["columns"]]:
        probe = np.ones(DIMS[space], np.float32)
        for hit in shop.search(vectors={space: probe}, k=len(shop) + 5, index="exact"):
            assert dict(hit.meta) == found[hit.id][0]
            found[hit.id][1][space] = hit.score
    assert len(found) == len(shop), "an item stands twice"
    return found


def expected(oracle):
    """The same of an oracle, each score with its tolerance."""
    wanted = {id: (meta, {}) for id, meta in oracle.meta.items()}
    for space in METRICS:
        probe = np.ones(DIMS[space], np.float32)
        tolerance = oracle.tolerance(space, probe)
        for id, score in oracle.scores(space, probe, oracle.meta).items():
            wanted[id][1][space] = (score, tolerance)
    return wanted


def alike(found, wanted):
    """Whether an item is as an oracle has it: metadata, and scores within their tolerance."""
    if found is None or wanted is None:
        return found is wanted
    (meta, scores), (theirs, bounds) = found, wanted
    return (
        meta == theirs
        and scores.keys() == bounds.keys()
        and all(abs(scores[space] - score) <= tolerance for space, (score, tolerance) in bounds.items())
    )


def check_between(found, before, after):
    """Every item is as before or as after a change that was cut short; of a stored item, each part by itself.

    New items come whole. An item that is stored already gets vectors and metadata in commits of their own.
    """
    for id in {*found, *before, *after}:
        now, then, next = found.get(id), before.get(id), after.get(id)
        if alike(now, then) or alike(now, next):
            continue
        assert now and then and next, f"{id} is changed in part: {now} is neither {then} nor {next}"
        assert now[0] in (then[0], next[0]), f"{id} has the metadata {now[0]}, not {then[0]} or {next[0]}"
        for space, score in now[1].items():
            choices = [side[1][space] for side in (then, next) if space in side[1]]
            assert any(abs(score - s) <= tolerance for s, tolerance in choices), f"{id}: {score} is none of {choices}"


def pairs(result):
    """Ids and scores of an answer."""
    return [(hit.id, hit.score) for hit in result]
