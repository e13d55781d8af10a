"""A reranker of Quiver as mteb's ``CrossEncoderProtocol``: it scores pairs of a query and a document.

Shapes: n pairs.
"""

from typing import Any

import numpy as np

from quiver.benchmarks.mteb import media
from quiver.benchmarks.mteb.model_meta import meta
from quiver.engine.core.encoder import load
from quiver.errors import BadSpec
from quiver.protocols import Scorer, ScorerInput
from quiver.types import Floats

#: Pairs that are read and scored together.
_TOGETHER = 64


class QuiverReranker:
    """A reranker for mteb's reranking tasks.

    Args:
        model_name: spec of an encoder with a scorer, such as ``"cross_encoder model=FOLDER"`` or ``"fashionbert"``.
        revision: ignored; spaces state their own.
        device: ignored; a spec names its device.
        **kwargs: ignored; mteb may pass more.

    Raises:
        BadSpec: the encoder has no scorer.
    """

    def __init__(self, model_name: str, revision: str | None = None, device: str | None = None, **kwargs: Any) -> None:
        del revision, device, kwargs
        self.loaded = load(model_name)
        if not self.loaded.scorers:
            raise BadSpec(
                f"{model_name} has no reranker: `--reranker` takes models such as cross_encoder or fashionbert"
            )
        self.scorer: Scorer = self.loaded.scorers[0]
        modalities = [name for name in (*self.scorer.holds, self.scorer.finds) if name in media.MODALITIES]
        revision = self.scorer.reads[0].revision if self.scorer.reads else "0"
        self.mteb_model_meta = meta(
            model_name, revision, metric=None, kind="cross-encoder", modalities=modalities, dim=None
        )

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Floats:
        """Return the score of each pair of a query and a document, (n,) float32; larger is better."""
        del task_metadata, hf_split, hf_subset, prompt_type, kwargs
        queries = [row for batch in inputs1 for row in media.rows(batch)]
        documents = [row for batch in inputs2 for row in media.rows(batch)]
        if len(queries) != len(documents):
            raise BadSpec(f"{len(queries)} queries for {len(documents)} documents: a reranker scores pairs")
        scores = np.empty(len(queries), np.float32)
        start = 0
        for stop in range(1, len(queries) + 1):
            if stop == len(queries) or stop - start == _TOGETHER or not _same(queries[start], queries[stop]):
                scores[start:stop] = self._scores(queries[start], documents[start:stop])
                start = stop
        return scores

    def _scores(self, query: dict[str, Any], documents: list[dict[str, Any]]) -> Floats:
        """Score documents (n) for one query."""
        key = self.scorer.finds
        missing = [name for name in self.scorer.holds if name not in query]
        if missing or any(key not in row for row in documents):
            raise BadSpec(
                f"{self.loaded.spec} reranks {key} for {' and '.join(self.scorer.holds)}; the task has others"
            )
        read = self.loaded.encoder.reader(key)
        batch = [read(row[key]) for row in documents]
        columns = {space: self.loaded.encoder.embed(key, batch, space) for space in self.scorer.reads}
        held = self.scorer.hold([ScorerInput({name: (query[name],) for name in self.scorer.holds})])
        return self.scorer.score(held, columns)[0]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two queries are the same."""
    return one.keys() == other.keys() and all(
        np.array_equal(value, other[name]) if isinstance(value, np.ndarray) else value == other[name]
        for name, value in one.items()
    )
