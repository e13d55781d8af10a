"""A composed-retrieval model: two towers, a composer, and the training loss of a batch.

Papers, references and licences stand in ``composer``, ``cirplant`` and ``combiner``, what goes in and what is minimised
in ``image``, ``text`` and ``loss``.

Legend: B queries, N targets (of all ranks, or stored), D width, L tokens, W features.
"""

from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders._saved import Saved
from quiver.encoders._train.rank import gathered, share
from quiver.encoders.artemis import composer, image, loss, probe, score, text
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.score import Terms

#: Share of a batch in the running means of ``typical``.
PACE = 0.02


class Batch(TypedDict):
    """B triplets: pictures (B, W) float32 features or (B, S, S, 3) uint8, words (B, L) int64 ids or (B, W) features.

    Attributes:
        reference: what is held.
        words: what should be different.
        target: what is looked for.
        same: (B, N) bool, True where the target of column j, of N on all ranks, is right for query i too; left out
            for none.
        questions: (B,) int64, which question each row is; ``same`` on several ranks needs it.
        places: (B,) int64, which picture each target is.
        members: E other pictures of each query's set, (B, E, W) or (B, E, S, S, 3); for ``objective=triplet``.
        labels: (B, E) int8, 1 where a member is right, -1 where it is wrong, 0 where it does not take part.
    """

    reference: Tensor
    words: Tensor
    target: Tensor
    same: NotRequired[Tensor]
    questions: NotRequired[Tensor]
    places: NotRequired[Tensor]
    members: NotRequired[Tensor]
    labels: NotRequired[Tensor]


class Model(Saved, library_name="quiver", tags=["composed-image-retrieval"]):
    """Towers of picture and words, and a composer.

    Args:
        config: what it is made of; ``save_pretrained`` keeps it in ``config.json`` beside ``model.safetensors``, which
            ``open`` reads from a folder and ``from_pretrained`` from the Hub.

    Raises:
        BadSpec: it cannot be built.
        MissingExtra: the library of its backbone is not installed.
    """

    typical: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.image = image.build(config)
        self.text = text.build(config)
        self.composer = composer.build(config)
        #: Running means of the terms of right answers, in the order of their names: where the lifted probe linearises.
        self.register_buffer("typical", torch.full((2 if config.composer == "artemis" else 1,), 0.5))
        if config.objective == "triplet":
            self.scale = nn.Parameter(torch.tensor(config.scale))
        else:
            self.temperature = nn.Parameter(torch.tensor(config.temperature), requires_grad=config.learn_temperature)

    def encode_image(self, picture: Tensor) -> Tensor:
        """Return the stored vectors of B pictures: (B, D), of unit length if ``Config.unit``."""
        rows = self.image(picture)
        return normalize(rows, dim=1) if self.config.unit else rows

    def encode_reference(self, picture: Tensor) -> Tensor:
        """Return the composer's inputs of B pictures: (B, D), as stored; for CIRPLANT of any length."""
        return self.image(picture) if self.config.composer == "cirplant" else self.encode_image(picture)

    def encode_text(self, words: Tensor) -> Tensor:
        """Return the composer's inputs of B texts: (B, D); unchanged ids if it reads them itself."""
        return words if self.text is None else self.text(words)

    def terms(self, reference: Tensor, words: Tensor) -> Terms:
        """Compose the tower outputs of B queries; an unused tower gets no gradient."""
        composed: Terms = self.composer(reference, words)
        return composed

    def scores(self, batch: Batch) -> Tensor:
        """Return (B, B) scores of a batch, every query against every target of this rank."""
        terms, target = self._compose(batch)
        return _sum(score.values(terms, target))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and the logged values.

        Returns:
            ``loss``, which includes the weighted ``spread`` where that is asked for, and ``first``: the share of
            queries whose own target scores best in the batch.
        """
        terms, target = self._compose(batch)
        own = score.values(terms, target)
        if self.training:
            self._watch(own)
        if self.config.objective == "triplet":
            out = {"loss": self._triplets(terms, target, batch)}
        else:
            out = {"loss": self._classify(terms, target, batch.get("same"))}
        if self.config.spread:
            uneven = loss.spread(terms, target)
            out |= {"loss": out["loss"] + self.config.spread * uneven, "spread": uneven.detach()}
        best = _sum(own).argmax(dim=1)
        return out | {"first": (best == torch.arange(len(best), device=best.device)).float().mean()}

    def settle(self, reference: Tensor, words: Tensor, stored_ND: Tensor) -> None:
        """Measure ``typical`` on a gallery: after training this is better than the running means of right answers.

        Args:
            reference: of B queries, as ``encode_reference`` gives it.
            words: as ``encode_text`` gives it.
            stored_ND: as ``encode_image`` gives it.
        """
        with torch.no_grad():
            terms = score.arrays(self.terms(reference, words))
        rows = stored_ND.detach().float().cpu().numpy()
        means = probe.typical(terms, np.square(rows).mean(axis=0), rows)
        if len(means) == len(self.typical):
            self.typical.copy_(torch.tensor([means[name] for name in sorted(means)]))

    def freeze(self, frozen: bool = True) -> None:
        """Keep the backbone and the word vectors as they are (ARTEMIS' first phase), or let them learn again."""
        for part in (getattr(self.image, "backbone", None), getattr(self.text, "embed", None)):
            if part is not None:
                part.requires_grad_(not frozen)

    def _compose(self, batch: Batch) -> tuple[Terms, Tensor]:
        words = self.encode_text(batch["words"])
        target = self.encode_image(batch["target"])
        reference = self.encode_reference(batch["reference"]) if "image" in self.config.holds else target
        return self.terms(reference, words), target

    def _classify(self, terms: Terms, target: Tensor, same: Tensor | None) -> Tensor:
        everyone = gathered(target)
        count = len(target)
        first = share()[0] * count if len(everyone) > count else 0
        total = _sum(score.values(terms, everyone))
        return loss.classification(total, self.temperature.exp(), first=first, same_BN=same)

    def _triplets(self, terms: Terms, target: Tensor, batch: Batch) -> Tensor:
        vectors, same = [composer.vector(terms), target], batch.get("same")
        both = self.config.composer != "cirplant"
        if same is not None and same.shape[1] > len(target):  # these losses compare the rows of one rank
            same = same.narrow(1, share()[0] * len(target), len(target))
        right, wrong = loss.pairs(len(target), both=both, same_BB=same, device=target.device)
        if "members" in batch:
            vectors.append(self.encode_image(batch["members"].flatten(0, 1)))
            right, wrong = loss.with_members(right, wrong, batch["labels"])
        chosen = loss.draw(loss.triplets(right, wrong), self.config.triplets)
        return loss.soft_triplet(self.scale * normalize(torch.cat(vectors), dim=1), chosen)

    @torch.no_grad()
    def _watch(self, own: dict[str, Tensor]) -> None:
        if self.config.composer in ("artemis", "em", "is"):
            means = torch.stack([own[name].diagonal().mean() for name in sorted(own)])
            self.typical.lerp_(means.to(self.typical), PACE)


def _sum(values: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(values.values())).sum(dim=0)
