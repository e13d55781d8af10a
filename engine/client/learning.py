"""Long work on a remote collection, as jobs of the server; each method waits for its job."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from quiver.engine.client.asking import Asking
from quiver.engine.client.sending import sent
from quiver.engine.client.told import target_of
from quiver.errors import BadSpec
from quiver.records import BuiltIndex, CheckedIndex, MeasuredRecall, UpdatedIndex, VectorHealth
from quiver.types import Query, strings

if TYPE_CHECKING:
    from quiver.engine.statistics.score_thresholds import ScoreThreshold
    from quiver.engine.statistics.scorer_recall import Measured
    from quiver.engine.tuning.scorer_measure import Learnt

#: Seconds between two looks at a job.
_LOOK = 0.1


class RemoteLearning(Asking):
    """Indexes, checks and learned figures of a remote collection."""

    def wait(self, seconds: float | None = None) -> bool:
        """Return True: a server updates its indexes by itself."""
        return True

    def index(self, *, spaces: str | Sequence[str] = (), recall: float = 0.95, k: int = 10) -> list[BuiltIndex]:
        """Build indexes with a recall target, as a job of the server; waits for it."""
        report = self._job("index", {"spaces": list(strings(spaces, "spaces")), "recall": recall, "k": k})
        return [
            BuiltIndex(**{**each, "promise": None if each["promise"] is None else target_of(each["promise"])})
            for each in report
        ]

    def check(self, *, spaces: str | Sequence[str] = ()) -> list[CheckedIndex]:
        """Check whether indexes reach their recall targets, as a job of the server; waits for it."""
        report = self._job("check", {"spaces": list(strings(spaces, "spaces"))})
        return [
            CheckedIndex(
                **{
                    **each,
                    "found": [MeasuredRecall(**one) for one in each["found"]],
                    "promise": target_of(each["promise"]),
                }
            )
            for each in report
        ]

    def _job(self, kind: str, options: Mapping[str, Any]) -> Any:
        job = self._ask("POST", "/jobs", {"kind": kind, **options}).json["id"]
        while (told := self._transport.ask("GET", f"/v1/jobs/{job}").json)["state"] in ("waiting", "running"):
            time.sleep(_LOOK)
        if told["state"] != "done":
            raise BadSpec(str(told.get("detail", f"the job was {told['state']}")))
        return told["report"]

    def catch_up(self) -> list[UpdatedIndex]:
        """Update stale indexes, as a job of the server; waits for it."""
        return [UpdatedIndex(**each) for each in self._job("catch_up", {})]

    def check_vectors(self, *, sample: int = 1000, again: int = 8) -> list[VectorHealth]:
        """Look for signs that an encoder is not well, as ``Collection.check_vectors``, as a job of the server."""
        return [VectorHealth(**each) for each in self._job("check_vectors", {"sample": sample, "again": again})]

    def threshold(
        self, queries: Sequence[Query] | None = None, answers: Sequence[Any] | None = None, *, by: str | None = None,
        target: str | None = None, rate: float = 0.1, confidence: float = 0.95, source: str = "",
    ) -> "ScoreThreshold":  # fmt: skip
        """Learn a ``min_score``, as ``Collection.threshold``, as a job of the server; queries have no files."""
        from quiver.engine.statistics.score_thresholds import ScoreThreshold

        options = {"by": by, "target": target, "rate": rate, "confidence": confidence, "source": source}
        told = self._job("threshold", {**_labelled(queries, answers), **options})
        return msgspec.convert(told, ScoreThreshold)

    def measure(self, queries: Sequence[Query], *, scorer: str | None = None, k: int = 10) -> "Measured":
        """Measure a scorer on sample queries, as ``Collection.measure``, as a job of the server."""
        from quiver.engine.statistics.scorer_recall import Measured

        return msgspec.convert(self._job("measure", {**_labelled(queries, None), "scorer": scorer, "k": k}), Measured)

    def fit(
        self, queries: Sequence[Query], answers: Sequence[str | Iterable[str]], *, scorer: str | None = None,
        depth: int = 100, source: str = "the user",
    ) -> "Learnt":  # fmt: skip
        """Learn weights from labelled queries, as ``Collection.fit``, as a job of the server."""
        from quiver.engine.statistics.fusion_weights import Balance
        from quiver.engine.statistics.rerank_weights import Blend

        if isinstance(answers, str):
            raise BadSpec("answers must be a list with the id or ids of each query's right answers, not one string")
        options = {"scorer": scorer, "depth": depth, "source": source}
        told = self._job("fit", {**_labelled(queries, answers), **options})
        return msgspec.convert(told, Blend) if "lists" in told else msgspec.convert(told, Balance)


def _labelled(queries: Sequence[Query] | None, answers: Sequence[Any] | None) -> dict[str, Any]:
    """Return labelled queries as JSON-compatible values.

    Raises:
        BadSpec: a query has files, which a job does not take.
    """
    if queries is None:
        return {"answers": None if answers is None else [list(strings(each, "answers")) for each in answers]}
    found = []
    for place, query in enumerate(queries):
        if not isinstance(query, Query):
            raise BadSpec(f"this takes a list of Query, such as [Query({{'text': 'a dog'}})], not {query!r:.80}")
        sending = sent(query)
        if sending.files:
            raise BadSpec(f"queries[{place}] has a file, and a job of a server takes none: give words, ids or vectors")
        found.append(sending.json)
    right = None if answers is None else [list(strings(each, "answers")) for each in answers]
    return {"queries": found, "answers": right}
