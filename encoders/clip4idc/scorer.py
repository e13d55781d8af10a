"""Ranks pairs for a sentence, or sentences for a pair, by how likely the caption generator finds the sentence.

    score(text, pair) = mean log p(word | words before, pair) - prior * mean log p(word | words before, no pair)

"No pair" is the mean memory of the training pairs. For a given text the second term is the same for all pairs, and is
left out; for a given pair it keeps down what is likely after every pair, such as short and common sentences. The
weight was chosen on the validation part of training. Own construction.

It reads both together, so it has no recall of its own: whatever finds candidates, it puts them in order.
Shapes: q queries, n candidates, M numbers of a memory, L ids of a sentence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver.encoders._tower import chunks
from quiver.encoders.clip4idc import speak
from quiver.encoders.clip4idc.caption_model import CaptionModel
from quiver.errors import BadSpec
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Probe, Space

#: Sentences that are read together.
AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """What a scorer reads: memories of pairs, and ids of sentences.

    Attributes:
        model: in eval mode.
        spaces: by key, ``pair`` and ``text``.
        readers: by key.
        memory: n outputs of the reader of pairs to memories.
    """

    model: CaptionModel
    spaces: Mapping[str, Space]
    readers: Mapping[str, Reader]
    memory: Callable[[Sequence[Any]], Tensor]

    def rows(self, key: str, batch: Sequence[Any]) -> Floats:
        """Return memories (n, M), or ids (n, L) with padding, float32."""
        out = np.empty((len(batch), self.spaces[key].dim), np.float32)
        if key == "text":
            out[:] = self.model.config.words.pad
            ids = self.model.encode(batch).numpy() if len(batch) else np.empty((0, 0))
            out[:, : ids.shape[1]] = ids
        else:
            start = 0
            for part in chunks(batch, AT_ONCE):
                out[start : start + len(part)] = self.memory(part).flatten(1).float().cpu().numpy()
                start += len(part)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """The scorer of one direction.

    Attributes:
        shelf: what it reads.
        finds: ``pair`` or ``text``.
    """

    shelf: Shelf
    finds: str

    @property
    def name(self) -> str:
        """One name for both directions; the query's inputs select the direction."""
        return "clip4idc_caption"

    @property
    def holds(self) -> tuple[str, ...]:
        """A text to find pairs, or two pictures to find texts."""
        return ("text",) if self.finds == "pair" else ("before", "after")

    @property
    def reads(self) -> tuple[Space, ...]:
        """Memories of pairs, or ids of sentences."""
        return (self.shelf.spaces[self.finds],)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """None: it can only rerank."""
        return {}

    @property
    def device(self) -> str:
        """Its device."""
        return str(self.shelf.model.mean.device)

    @property
    def exact(self) -> bool:
        """False: no recall method replaces its score."""
        return False

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Prepare the inputs of q queries: (q, L) ids or (q, M) memories.

        Raises:
            BadMedia: a picture or a text cannot be read.
            BadSpec: a query holds nothing to compare, several pairs, or only one picture of a pair.
        """
        key = "text" if self.finds == "pair" else "pair"
        space, rows = self.shelf.spaces[key], []
        for each in asked:
            given = self._given(key, each)
            found = [*self.shelf.rows(key, given), *each.examples.get(space, ())]
            if len(found) != 1:
                raise BadSpec(f"{self.name} compares one {key} at a time, not {len(found)}")
            rows.append(found[0])
        return {key: np.stack(rows) if rows else np.empty((0, space.dim), np.float32)}

    def _given(self, key: str, asked: ScorerInput) -> list[Any]:
        read = self.shelf.readers[key]
        if key == "text":
            texts = [read(source) for source in asked.media.get("text", ())]
            return [" ".join(texts)] if texts else []
        before, after = (asked.media.get(name, ()) for name in ("before", "after"))
        if len(before) != len(after):
            raise BadSpec(f"{self.name} needs both pictures of a pair: before and after")
        return [read(both) for both in zip(before, after, strict=True)]

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Refuse.

        Raises:
            BadSpec: always; something else has to recall candidates.
        """
        raise BadSpec(f"{self.name} only reranks candidates; it has no recall method {recall!r}")

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the score of every candidate for every query, (q, n) float32, independent of the others."""
        found: Floats = np.sum(list(self.terms(held, columns).values()), axis=0, dtype=np.float32)
        return found

    @torch.inference_mode()
    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return ``likelihood``, and if texts are found ``prior``: (q, n), which add up to the score."""
        rows = columns[self.reads[0]]
        if self.finds == "pair":
            return {"likelihood": self._likelihood(held["text"], rows)}
        weight = np.float32(self.shelf.model.config.prior)
        ids = self._ids(rows)
        prior = [self.shelf.model.prior(part) for part in ids.split(AT_ONCE)] if len(ids) else []
        alone = torch.cat(prior).float().cpu().numpy() if prior else np.empty(0, np.float32)
        likely = self._likelihood(rows, held["pair"]).T
        return {"likelihood": likely, "prior": np.broadcast_to(-weight * alone, likely.shape)}

    def _likelihood(self, texts: Floats, pairs: Floats) -> Floats:
        """Return the mean log probability per word of texts (t, L) after pairs (p, M): (t, p)."""
        model, ids = self.shelf.model, self._ids(texts)
        out = np.empty((len(texts), len(pairs)), np.float32)
        memories = torch.from_numpy(np.ascontiguousarray(pairs)).to(model.mean.device)
        many = max(1, AT_ONCE // max(1, len(texts)))  # pairs at once, so that about AT_ONCE sentences are read
        for start in range(0, len(pairs), many):
            state = model.writer.start(memories[start : start + many].unflatten(1, model.mean.shape))
            count = len(memories[start : start + many])
            for first in range(0, len(texts), AT_ONCE):
                some = ids[first : first + AT_ONCE]
                found = model.likelihood(_spread(state, len(some)), some.repeat(count, 1)).view(count, -1)
                out[first : first + len(some), start : start + count] = found.T.float().cpu().numpy()
        return out

    def _ids(self, rows: Floats) -> Tensor:
        """Return ids (n, L) int64, without the columns that are padding in all rows."""
        words, whole = self.shelf.model.config.words, rows.astype(np.int64)
        ended = (whole == words.end).argmax(axis=1) if len(whole) else np.zeros(1, np.int64)
        kept = whole[:, : 1 + int(ended.max())]
        return torch.from_numpy(np.ascontiguousarray(kept)).to(self.shelf.model.mean.device)


def _spread(state: speak.State, times: int) -> speak.State:
    return {name: each.repeat_interleave(times, dim=0) for name, each in state.items()}
