"""An encoder of Quiver as mteb's ``EncoderProtocol``.

Shapes: n inputs, dim the dimension of the space.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks.mteb import media
from quiver.benchmarks.mteb.model_meta import meta
from quiver.engine.core.encoder import load
from quiver.errors import BadSpec, NoRoute
from quiver.types import Floats, Space

#: Inputs that are embedded together; readers and models split them as they like.
_TOGETHER = 64


class QuiverEncoder:
    """An encoder for mteb's tasks: queries and documents of one task meet in one space.

    An input of several modalities, such as a picture with its text, gets the mean of their vectors.

    Args:
        model_name: spec of the encoder, such as ``"classic"`` or ``"open_clip model=ViT-B-32"``.
        revision: ignored; spaces state their own.
        device: device, for encoders with an option ``device`` that the spec does not set.
        **kwargs: ignored; mteb may pass more.

    Attributes:
        mteb_model_meta: mteb's description of the encoder.
    """

    def __init__(self, model_name: str, revision: str | None = None, *, device: str | None = None, **kwargs: Any):
        del revision, kwargs
        self.spec = _placed(model_name, device)
        self.loaded = load(self.spec)
        self.keys = [key for key in media.MODALITIES if key in self.loaded.encoder.keys]
        if not self.keys:
            raise NoRoute(f"{model_name} embeds none of {', '.join(media.MODALITIES)}, which mteb's tasks have")
        spaces = self._spaces(self.keys) or self.loaded.encoder.spaces(self.keys[0])
        self._main = next(iter(spaces))
        self.mteb_model_meta = meta(
            model_name,
            self._main.revision,
            metric=self._main.metric,
            kind="dense",
            modalities=self.keys,
            dim=self._main.dim,
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Floats:
        """Embed a data loader's inputs, (n, dim) float32; queries by the encoder's own side for queries."""
        del hf_split, hf_subset, kwargs
        queries = getattr(prompt_type, "value", prompt_type) == "query"
        space: Space | None = None
        parts: list[Floats] = []
        for rows in _chunks(inputs):
            space = space or self.space(task_metadata, rows)
            parts.append(self._embedded(rows, space, queries=queries))
        return np.concatenate(parts) if parts else np.zeros((0, self._main.dim), np.float32)

    def space(self, task_metadata: Any, rows: Sequence[Mapping[str, Any]]) -> Space:
        """Return the space in which the queries and documents of a task meet.

        Raises:
            NoRoute: the encoder has no space for all modalities of the task.
        """
        here = [key for key in self.keys if any(key in row for row in rows)]
        asked = [key for key in self.keys if key in _modalities(task_metadata)]
        found = self._spaces(list(dict.fromkeys([*here, *asked]))) or self._spaces(here)
        if not here or not found:
            needed = sorted({key for row in rows for key in row})
            raise NoRoute(f"{self.spec} has no space for {' and '.join(needed)}, which the task searches")
        return found[0]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the scores of all pairs, (n, m) torch tensor, by the metric of the space; larger is nearer."""
        return self._scores(embeddings1, embeddings2, pairwise=False)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the score of each pair, (n,) torch tensor, by the metric of the space."""
        return self._scores(embeddings1, embeddings2, pairwise=True)

    def _scores(self, a: Any, b: Any, *, pairwise: bool) -> Any:
        import torch
        from mteb import similarity_functions as by

        if self._main.metric == "cosine":
            return (by.pairwise_cos_sim if pairwise else by.cos_sim)(a, b)
        if self._main.metric == "dot":
            return (by.pairwise_dot_score if pairwise else by.dot_score)(a, b)
        one, other = (torch.atleast_2d(torch.as_tensor(np.asarray(each))) for each in (a, b))
        return -(one - other).norm(dim=1) if pairwise else -torch.cdist(one, other)

    def _spaces(self, keys: Sequence[str]) -> list[Space]:
        """Return the spaces that all keys share, the first key's order."""
        if not keys:
            return []
        spaces = [self.loaded.encoder.spaces(key) for key in keys]
        return [space for space in spaces[0] if all(space in others for others in spaces)]

    def _embedded(self, rows: Sequence[Mapping[str, Any]], space: Space, *, queries: bool) -> Floats:
        total = np.zeros((len(rows), space.dim), np.float32)
        count = np.zeros((len(rows), 1), np.float32)
        for key in self.keys:
            if space not in self.loaded.encoder.spaces(key):
                continue
            held = [place for place, row in enumerate(rows) if key in row]
            if held:
                read = self.loaded.encoder.reader(key)
                batch = [read(rows[place][key]) for place in held]
                embed = self.loaded.embed_query if queries else self.loaded.encoder.embed
                total[held] += embed(key, batch, space)
                count[held] += 1
        if (empty := np.flatnonzero(count == 0)).size:
            raise BadSpec(f"input {empty[0]} of a batch has nothing that {self.spec} embeds")
        return total / count


def _modalities(task_metadata: Any) -> Sequence[str]:
    return tuple(getattr(task_metadata, "modalities", ()))


def _chunks(inputs: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of media, many at a time."""
    waiting: list[dict[str, Any]] = []
    for batch in inputs:
        waiting += media.rows(batch)
        if len(waiting) >= _TOGETHER:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _placed(spec: str, device: str | None) -> str:
    """Add the device to a spec whose module takes one."""
    name, options = registry.split(spec)
    module = registry.module("encoders", name)
    takes = "device" in getattr(getattr(module, "load", None), "__annotations__", {})
    return spec if device is None or "device" in options or not takes else f"{spec} device={device}"
