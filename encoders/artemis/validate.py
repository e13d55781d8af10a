"""Validation: every question is scored exactly against all items that compete under its protocol.

Legend: q questions, g pictures searched, D width of the space.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quiver.encoders import _frozen
from quiver.encoders._train import extract
from quiver.encoders._train.damage import Damage, Decoder
from quiver.encoders.artemis import image, score
from quiver.encoders.artemis.data import Heard, Looked, Pixels, Sentences, Silence, Table, Tokens
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.score import Arrays
from quiver.encoders.artemis.triplet import Triplets, gather, pictures
from quiver.encoders.artemis.word import Vocabulary
from quiver.task import Task
from quiver.types import Floats, Rows

#: What is measured: the share of questions with an answer among the first so many.
DEPTHS = (1, 10, 50)
#: Pictures encoded together: features are cheap, pixels are not.
AT_ONCE = {2: 4096, 4: 64}
#: Questions scored together.
BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Questions and pictures of the validation part."""

    triplets: Triplets
    look: Looked
    hear: Heard

    @classmethod
    def of(cls, task: Task, model: Model, *, cache: Path | None = None) -> "Validation":
        """Read the questions of a task for a trained model; features of frozen encoders are kept in ``cache``.

        Raises:
            BadData: no question of the task is a triplet.
            BadSpec: an encoder of its features cannot be loaded.
        """
        look: Looked
        config = model.config
        if config.wide("image"):
            spec = _frozen.placed(config.image_spec, model.folder)
            features, seen = extract(spec, "image", pictures(task), cache=cache)
            triplets, look = gather(task, seen), Table.plain(features)
        else:
            decode = Decoder(image.reader(config), Damage("image", cache))
            triplets = gather(task, decode.readable(pictures(task)))
            look = Pixels(triplets.pictures, decode)
        if "text" not in config.holds:
            return cls(triplets, look, Silence())
        if not config.wide("text"):
            return cls(triplets, look, Tokens(Vocabulary.of(config), triplets.wishes))

        def embed(texts: Sequence[str]) -> Floats:
            return extract(_frozen.placed(config.text_spec, model.folder), "text", texts, cache=cache)[0]

        return cls(triplets, look, Sentences.of(triplets.wishes, embed))

    def measure(self, model: Model) -> dict[str, float]:
        """Measure a model in eval mode.

        Returns:
            ``score``, the mean of R@10 and R@50, and R@1, R@10 and R@50, each averaged over groups.
        """
        ranks = self.ranks(model)
        by_group: dict[str, list[int]] = defaultdict(list)
        for row, group in enumerate(self.triplets.group):
            by_group[group].append(row)
        found = {k: float(np.mean([(ranks[rows] < k).mean() for rows in by_group.values()])) for k in DEPTHS}
        return {"score": (found[10] + found[50]) / 2, **{f"R@{k}": share for k, share in found.items()}}

    def ranks(self, model: Model) -> Rows:
        """Return, of each question, how many wrong pictures score as high as its best answer or higher: (q,)."""
        stored = self.stored(model)
        ranks = np.empty(len(self.triplets), np.int64)
        for block, terms in self.asked(model):
            total = np.sum(list(score.scan(terms, stored).values()), axis=0)
            for row, line in zip(block, total, strict=True):
                ranks[row] = self._rank(int(row), line)
        return ranks

    def stored(self, model: Model) -> Floats:
        """Return the stored vectors of the gallery, in its order: (g, D)."""
        with torch.no_grad():
            return encode(model, self.look, self.triplets.gallery).float().cpu().numpy()

    @torch.no_grad()
    def asked(self, model: Model) -> Iterator[tuple[Rows, Arrays]]:
        """Yield some questions by row, and the terms of their scores."""
        device, held = model.typical.device, self._references(model)
        for start in range(0, len(self.triplets), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(self.triplets)))
            words = model.encode_text(self.hear(block).to(device))
            reference = words if held is None else held[torch.from_numpy(self.triplets.reference[block])]
            yield block, score.arrays(model.terms(reference, words))

    @torch.no_grad()
    def settle(self, model: Model) -> None:
        """Let a model measure the typical terms of its score on these questions, for its lifted probe."""
        block = np.arange(min(BLOCK, len(self.triplets)))
        stored = encode(model, self.look, self.triplets.gallery)
        words = model.encode_text(self.hear(block).to(stored.device))
        reference = encode(model, self.look, self.triplets.reference[block], refer=True) if self._sees(model) else words
        model.settle(reference, words, stored)

    def _references(self, model: Model) -> Tensor | None:
        """Return every reference once, by its place in ``pictures``; None where the composer looks at none."""
        if not self._sees(model):
            return None
        places = np.unique(self.triplets.reference)
        rows = encode(model, self.look, places, refer=True)
        out = rows.new_zeros(len(self.triplets.pictures), rows.shape[1])
        out[torch.from_numpy(places)] = rows
        return out

    def _sees(self, model: Model) -> bool:
        return "image" in model.config.holds

    def _rank(self, row: int, line: Floats) -> int:
        of = self.triplets
        right = np.isin(of.gallery, of.answer[of.start[row] : of.start[row + 1]])
        wrong = ~right & ~of.out(row, of.gallery)
        among = of.among[row]
        if among is not None:
            right, wrong = right & np.isin(of.gallery, among), wrong & np.isin(of.gallery, among)
        return int((line[wrong] >= line[right].max(initial=-np.inf)).sum())


def encode(model: Model, look: Looked, places: Rows, *, refer: bool = False) -> Tensor:
    """Encode pictures by place, as stored or as references: (n, D)."""
    device = model.typical.device
    tower = model.encode_reference if refer else model.encode_image
    step = AT_ONCE[look(places[:1]).ndim]
    return torch.cat([tower(look(places[at : at + step]).to(device)) for at in range(0, len(places), step)])
