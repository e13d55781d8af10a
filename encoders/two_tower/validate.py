"""How well questions find their answers, and answers their questions, measured while a model learns.

Shapes: n questions, m things searched, t things, D width of the space.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from quiver.encoders._train.device import move
from quiver.encoders.two_tower.config import Config
from quiver.encoders.two_tower.data import Column, side
from quiver.encoders.two_tower.model import Side
from quiver.encoders.two_tower.pairs import Pairs
from quiver.types import Rows


class Measured(Protocol):
    """A model that embeds one side of a batch."""

    @property
    def config(self) -> Config:
        """Configuration of the model."""
        ...

    @property
    def scale(self) -> Tensor:
        """A scalar, on its device."""
        ...

    def side(self, side: Side) -> Tensor:
        """Return (B, D), of unit length."""
        ...


CUTS = (1, 5, 10)
#: Things embedded, or questions ranked, together.
AT_ONCE = 256


def recalls(model: Measured, pairs: Pairs, columns: Mapping[str, Column]) -> dict[str, float]:
    """Rank everything that is searched for each question, and every question for each of their answers.

    Returns:
        ``recall``, the mean of the others; ``R@1``, ``R@5``, ``R@10``: how often one of the best k is right; and
        ``back_R@1`` and so on, from answers to distinct questions. What is as near as the right one counts as nearer.
    """
    ask, places = np.unique(pairs.ask[: pairs.asked], return_inverse=True)
    asking, found = (embed(model, pairs, columns, rows) for rows in (ask, pairs.searched))
    right = [np.searchsorted(pairs.searched, each) for each in pairs.answers[: pairs.asked]]
    forth = ranks(asking[places], found, right, pairs.related(ask, pairs.searched)[places])
    by_answer: dict[int, set[int]] = {}
    for place, each in zip(places.tolist(), right, strict=True):
        for answer in each.tolist():
            by_answer.setdefault(answer, set()).add(place)
    answers = np.array(sorted(by_answer))
    askers = [np.array(sorted(by_answer[answer])) for answer in answers.tolist()]
    back = ranks(found[answers], asking, askers, pairs.related(ask, pairs.searched[answers]).T)
    figures = {f"R@{k}": (forth <= k).double().mean().item() for k in CUTS}
    figures |= {f"back_R@{k}": (back <= k).double().mean().item() for k in CUTS}
    return {"recall": sum(figures.values()) / len(figures), **figures}


def ranks(asking_nD: Tensor, found_mD: Tensor, right: list[Rows], known_nm: Tensor) -> Tensor:
    """Return the rank (n,), from 1, of the best right thing among itself and those that are wrong.

    Args:
        asking_nD: unit vectors.
        found_mD: likewise.
        right: of each question the places of what is right.
        known_nm: bool, what does not compete.
    """
    out = torch.empty(len(asking_nD), dtype=torch.int64)
    for row, (vector, places) in enumerate(zip(asking_nD, right, strict=True)):
        scores = found_mD @ vector
        best = scores[torch.from_numpy(places)].max()
        out[row] = 1 + (scores >= best)[~known_nm[row]].sum()
    return out


@torch.inference_mode()
def embed(model: Measured, pairs: Pairs, columns: Mapping[str, Column], rows: Rows) -> Tensor:
    """Embed things: (len(rows), D) on the CPU."""
    place = model.scale.device
    parts = [torch.empty(0, model.config.dim)]
    for start in range(0, len(rows), AT_ONCE):
        given = move(side(pairs.things, columns, rows[start : start + AT_ONCE]), place)
        parts.append(model.side(given).cpu())
    return torch.cat(parts)
