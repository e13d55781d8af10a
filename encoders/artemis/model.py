"""A composed-retrieval model: two towers, a composer, and the training loss of a batch.

Papers, references and licences stand in ``composer``, ``cirplant`` and ``combiner``, what goes in and what is minimised
in ``image``, ``text`` and ``loss``.

Legend: B queries, N targets (of all ranks, or stored), D width, L tokens, W features.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders._saved import Saved
from quiver.encoders._train.rank import gathered, own_start
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

    def forward(self, batch: Batch, *, embed: bool = False) -> dict[str, Tensor]:
        """Return the loss and the logged values.

        Args:
            batch: triplets.
            embed: return instead the rows that ``compare`` takes.

        Returns:
            ``loss``, which includes the weighted ``spread`` where that is asked for, and ``first``: the share of
            queries whose own target scores best in the batch.
        """
        rows = self._rows(batch)
        return rows if embed else self.compare(rows, batch.get("same"))

    def compare(self, rows: Mapping[str, Tensor], same: Tensor | None) -> dict[str, Tensor]:
        """Return the loss and the logged values of embedded triplets; on several ranks, of this one's among all.

        Args:
            rows: of ``forward``: ``target`` (b, D), ``query NAME`` and ``energy NAME`` of each term, ``scale`` ().
            same: (b, N) bool, or None, as in a batch.
        """
        names = [name.removeprefix("query ") for name in rows if name.startswith("query ")]
        terms = {name: score.Term(rows[f"query {name}"], rows.get(f"energy {name}")) for name in names}
        everyone, first = gathered(rows["target"]), own_start(len(rows["target"]))
        total = _sum(score.values(terms, everyone))
        if self.config.objective == "triplet":
            out = {"loss": self._triplets(terms, rows, same)}
        else:
            out = {"loss": loss.classification(total, rows["scale"], first=first, same_BN=same)}
        if self.config.spread:
            uneven = loss.spread(terms, everyone)
            out |= {"loss": out["loss"] + self.config.spread * uneven, "spread": uneven.detach()}
        best = total.argmax(dim=1) - first
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

    def _rows(self, batch: Batch) -> dict[str, Tensor]:
        terms, target = self._compose(batch)
        if self.training:
            self._watch(score.values(terms, target))
        triplet = self.config.objective == "triplet"
        rows = {"target": target, "scale": self.scale if triplet else self.temperature.exp()}
        rows |= {f"query {name}": term.query for name, term in terms.items()}
        rows |= {f"energy {name}": term.energy for name, term in terms.items() if term.energy is not None}
        if triplet and "members" in batch:
            labels = batch["labels"]
            rows["members"] = self.encode_image(batch["members"].flatten(0, 1)).unflatten(0, labels.shape)
            rows["labels"] = labels
        return rows

    def _triplets(self, terms: Terms, rows: Mapping[str, Tensor], same: Tensor | None) -> Tensor:
        """Compare own queries (and targets) with queries and targets of all ranks, and with their own sets."""
        query, target = composer.vector(terms), rows["target"]
        vectors = [gathered(query), gathered(target)]
        everyone, count, first = len(vectors[0]), len(query), own_start(len(query))
        both = self.config.composer != "cirplant"
        alike = None if same is None else gathered(same.to(torch.uint8)).bool()
        right, wrong = loss.pairs(everyone, both=both, same_BB=alike, device=target.device)
        anchors = first + torch.arange(count, device=target.device)
        anchors = torch.cat([anchors, everyone + anchors]) if both else anchors
        right, wrong = right[anchors], wrong[anchors]
        if "members" in rows:
            vectors.append(rows["members"].flatten(0, 1))
            right, wrong = loss.with_members(right, wrong, rows["labels"])
        chosen = loss.draw(loss.triplets(right, wrong), self.config.triplets)
        chosen = torch.cat([anchors[chosen[:, :1]], chosen[:, 1:]], dim=1)
        return loss.soft_triplet(rows["scale"] * normalize(torch.cat(vectors), dim=1), chosen)

    @torch.no_grad()
    def _watch(self, own: dict[str, Tensor]) -> None:
        if self.config.composer in ("artemis", "em", "is"):
            means = gathered(torch.stack([own[name].diagonal().mean() for name in sorted(own)])[None]).mean(dim=0)
            self.typical.lerp_(means.to(self.typical), PACE)


def _sum(values: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(values.values())).sum(dim=0)
