"""What mteb is told about a system: name, revision, modalities, similarity."""

import re
from collections.abc import Sequence
from typing import Any

from quiver.errors import optional

#: Names of similarities by metric.
SIMILARITY = {"cosine": "COSINE", "dot": "DOT_PRODUCT", "l2": "EUCLIDEAN"}


def meta(name: str, revision: str, *, metric: str | None, kind: str, modalities: Sequence[str], dim: int | None) -> Any:
    """Return mteb's ``ModelMeta``.

    Args:
        name: spec of the encoder, or name of the collection.
        revision: its revision.
        metric: how vectors are compared; None for a system whose scores are its own.
        kind: a model type of mteb: ``dense``, ``cross-encoder`` or ``hybrid``.
        modalities: its keys; pairs, which mteb has not, are left out.
        dim: dimension of its vectors.
    """
    with optional():
        from mteb.models.model_meta import ModelMeta, ScoringFunction

    from quiver.benchmarks.mteb.media import MODALITIES

    plain = re.sub(r"[^\w.-]+", "-", name).strip("-")
    return ModelMeta.create_empty(
        {
            "name": f"quiver/{plain}",
            "revision": revision,
            "similarity_fn_name": None if metric is None else getattr(ScoringFunction, SIMILARITY[metric]),
            "model_type": [kind],
            "modalities": [key for key in MODALITIES if key in modalities],
            "embed_dim": dim,
            "framework": ["NumPy"],
        }
    )
