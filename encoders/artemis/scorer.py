"""Ranks pictures by a reference and a text of the wanted change.

Several references are one: the mean of their directions, scaled to length 1. Several wishes are one text, joined by
``<and>``, where the model learnt from such (``Config.joint``), else the mean of their directions. In ARTEMIS and late
fusion the reference (``image``) and the words (``text``) can be weighed; anywhere else a weight has no meaning and is
refused.

Shapes: q queries, n candidates, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver.encoders import _pool
from quiver.encoders._frozen import Frozen
from quiver.encoders.artemis import probe, score
from quiver.encoders.artemis.config import WEIGHABLE, Config
from quiver.encoders.artemis.encoder import Eye
from quiver.encoders.artemis.score import Arrays
from quiver.encoders.artemis.word import Vocabulary
from quiver.errors import BadMedia, BadSpec
from quiver.media import TextReader
from quiver.protocols import Held, ScorerInput
from quiver.types import Floats, Probe, Space

#: What stands beside a term's vector among what is held, under its name and one of these.
_ENERGY, _WEIGHT = " energy", " weight"


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """The scorer of one model.

    Attributes:
        space: of the stored vectors it reads.
        eye: the image tower, with the model.
        words: what reads the words: a vocabulary, the encoders of their features, or None where there are none.
        lifted: the space of its lifted probe; None where the score is one product.
    """

    space: Space
    eye: Eye
    words: Vocabulary | Frozen | None
    lifted: Space | None

    @property
    def name(self) -> str:
        """The composer's name."""
        return str(self._config.composer)

    @property
    def holds(self) -> tuple[str, ...]:
        """The inputs that a query needs."""
        return self._config.holds

    @property
    def finds(self) -> str:
        """Pictures."""
        return "image"

    @property
    def reads(self) -> tuple[Space, ...]:
        """The space of its encoder."""
        return (self.space,)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """``single``; ``lifted`` if that is not exact; ``union`` if there are two terms."""
        single = {"single": (self.space,)}
        if self.lifted is None:
            return single
        union = {"union": (self.space,) * 3} if self.name == "artemis" else {}
        return {**single, **union, "lifted": (self.lifted,)}

    @property
    def exact(self) -> bool:
        """Whether the score is one product."""
        return self.lifted is None

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Embed the inputs of q queries: (q, D) by term, and the inputs of its norm.

        Raises:
            BadMedia: a picture or a text cannot be read.
            BadSpec: a query lacks what ``holds`` names, or has weights that have no meaning.
        """
        keep, change = np.array([self._weights(each) for each in asked], np.float32).reshape(-1, 2, 1).swapaxes(0, 1)
        empty = torch.zeros(len(asked), self.space.dim)
        reference = torch.from_numpy(self._references(asked)) if "image" in self.holds else empty
        device = self.eye.model.typical.device
        with torch.inference_mode():
            words = self._heard(asked).cpu() if "text" in self.holds else empty
            if self.name == "late_fusion":
                reference, words = reference * torch.from_numpy(keep), words * torch.from_numpy(change)
            terms = self.eye.model.terms(reference.to(device), words.to(device))
        held: dict[str, Floats] = {}
        for name, (query, energy) in score.arrays(terms).items():
            held |= {name: query} if energy is None else {name: query, name + _ENERGY: energy}
        if self.name == "artemis":
            for name, weight in (("keep", keep), ("change", change)):
                held |= {name: held[name] * weight, name + _WEIGHT: weight}
        return held

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Return the query vectors of a recall method; ``moments`` belong to ``space``.

        Raises:
            BadSpec: there is no such recall.
        """
        if recall not in self.recalls:
            raise BadSpec(f"{self.name} recalls by {', '.join(self.recalls)}, not {recall!r}")
        terms = _terms(held)
        if self.lifted is None:
            return (Probe(self.space, np.sum([query for query, _ in terms.values()], axis=0)[:, None]),)
        energy = moments[self.space]
        if recall == "lifted":
            means = dict(zip(sorted(terms), self.eye.model.typical.tolist(), strict=True))
            typical = {name: held.get(name + _WEIGHT, np.float32(1)) * mean for name, mean in means.items()}
            return (Probe(self.lifted, probe.lifted(terms, energy, typical)[:, None]),)
        lists = [probe.single(terms, energy)]
        if recall == "union":
            lists += probe.parts(terms, energy).values()
        return tuple(Probe(self.space, vectors[:, None]) for vectors in lists)

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Score every candidate for every query, (q, n) float32."""
        return np.sum(list(self.terms(held, columns).values()), axis=0)

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the terms of the scores: ``keep`` (the reference), ``change`` (the words), or ``composed``."""
        return score.scan(_terms(held), columns[self.space])

    @property
    def _config(self) -> Config:
        return self.eye.model.config

    def _weights(self, asked: ScorerInput) -> tuple[float, float]:
        """Return the weights of reference and words."""
        keep, change = (asked.weights.get(name, 1.0) for name in ("image", "text"))
        if set(asked.weights) - {"image", "text"} or not np.isfinite([keep, change]).all():
            raise BadSpec(f"{self.name} takes finite weights of image and text, not {dict(asked.weights)}")
        if self.name not in WEIGHABLE and (keep, change) != (1, 1):
            raise BadSpec(f"{self.name} cannot weight its inputs: leave out weights, or use {' or '.join(WEIGHABLE)}")
        if not (keep or change):
            raise BadSpec(f"{self.name} cannot give both image and text the weight 0")
        return keep, change

    def _references(self, asked: Sequence[ScorerInput]) -> Floats:
        """Return the reference of each query: (q, D)."""
        given = [self._given(each) for each in asked]
        pictures = [self.eye.read(source) for sources, _ in given for source in sources]
        rows = iter(self.eye.refer(pictures) if pictures else ())
        return np.stack([self._joined([*(next(rows) for _ in sources), *stored]) for sources, stored in given])

    def _given(self, asked: ScorerInput) -> tuple[Sequence[Any], Sequence[Floats]]:
        """Return the pictures of a query that have to be looked at, and the vectors that need not."""
        pictures, stored = asked.media.get("image", ()), list(asked.examples.get(self.space, ()))
        if self.name != "cirplant":
            return pictures, stored
        originals = asked.originals.get("image", ())
        if len(originals) < len(stored):
            raise BadSpec("cirplant looks at the features of a reference, not at its stored vector: give the picture")
        return [*pictures, *originals], ()

    def _joined(self, references: Sequence[Floats]) -> Floats:
        rows = np.array(references, np.float32)
        if not len(rows):
            raise BadSpec(f"{self.name} needs a reference picture: give an image, or like")
        if not np.isfinite(rows).all():
            raise BadMedia("a reference picture gave a vector that is not finite")
        if len(rows) == 1:
            return rows[0]
        length = np.linalg.norm(rows, axis=1).mean(dtype=np.float32)
        middle = _pool.unit(_pool.unit(rows).mean(axis=0, keepdims=True))[0]
        return middle if self._config.unit else middle * length

    def _heard(self, asked: Sequence[ScorerInput]) -> Tensor:
        """Return the composer's inputs of each query's texts."""
        read = TextReader()
        wishes = [[read(text) for text in each.media.get("text", ())] for each in asked]
        if not all(wishes):
            raise BadSpec(f"{self.name} needs a text of the wanted change: add text")
        if isinstance(self.words, Vocabulary):
            return self._read(self.words, wishes)
        if self.words is None:
            raise BadSpec(f"{self.name} reads no words")
        flat = [self.words.reader(text) for texts in wishes for text in texts]
        features = _pool.unit(_pool.mean(self.words.embed(flat), [len(texts) for texts in wishes]))
        model = self.eye.model
        return model.encode_text(torch.from_numpy(features).to(model.typical.device))

    def _read(self, words: Vocabulary, wishes: Sequence[Sequence[str]]) -> Tensor:
        if deaf := [texts for texts in wishes if not words.hears(texts)]:
            some = ", ".join(words.words[:8])
            raise BadSpec(f"{self.name} knows no word of {deaf[0][0]!r}: it learnt {len(words.words)}, as {some}")
        model = self.eye.model
        whole = model.config.joint or model.text is None
        ids = words.batch(wishes if whole else [[each] for texts in wishes for each in texts])
        rows = model.encode_text(ids.to(model.typical.device))
        if whole:
            return rows
        return torch.from_numpy(_pool.unit(_pool.mean(rows.cpu().numpy(), [len(texts) for texts in wishes])))


def _terms(held: Held) -> Arrays:
    names = [name for name in held if not name.endswith((_ENERGY, _WEIGHT))]
    return {name: (held[name], held.get(name + _ENERGY)) for name in names}
