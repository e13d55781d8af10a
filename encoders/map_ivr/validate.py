"""Validation: exact S_all of every still against every clip that competes, the choice of lambda, and what codes hold.

Shapes: n stills, g clips, h motion codes, D appearance, F features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.encoders.map_ivr import loss
from quiver.encoders.map_ivr.data import UNNAMED, Pairs
from quiver.encoders.map_ivr.model import MapIvr, scaled, unit
from quiver.types import Floats, Rows

#: Values of lambda that are tried.
GRID = tuple(round(0.1 * step, 1) for step in range(11))
#: Length of the lists whose mean precision at hits selects a state.
DEPTH = 100
#: Stills scored, and clips embedded, together.
BLOCK = 256
#: Ridge penalty of the linear probes, on standardised vectors, per clip.
_PENALTY = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Clips that linear probes learn from and are tested on.

    Attributes:
        learn: (g, F) features of training clips.
        test: (g', F) features of validation clips.
        values: by what is read, such as ``person``, the values of both.
    """

    learn: Floats
    test: Floats
    values: Mapping[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Stills and clips of the validation part.

    Attributes:
        pairs: who asks, what answers, what competes.
        images: (n, F_u) features of stills.
        videos: (g, F) features of clips.
        blends: values of lambda to choose from.
        probe: what is read from motion and appearance vectors; None reads nothing.
    """

    pairs: Pairs
    images: Floats
    videos: Floats
    blends: Sequence[float] = GRID
    probe: Probe | None = None

    def measure(self, model: MapIvr) -> dict[str, float]:
        """Return ``APh@100`` at the best lambda, which selects the state, ``P@1`` there, ``blend``, and more.

        Watched are ``appearance`` and ``moving``, APh@100 by one distance alone; ``spread`` of the h rebuilt clips of a
        still, a mean distance from their mean; ``kl`` in nats per clip; ``active`` share of code dimensions; ``dead``
        share of all-zero vectors; and accuracies of linear probes such as ``motion_person``.
        """
        appearance, moving, spread = self.cosines(model)
        found = {blend: self.precisions((1 - blend) * appearance + blend * moving) for blend in self.blends}
        best = max(self.blends, key=lambda blend: (found[blend][0], -abs(blend - 0.5)))
        figures = {"APh@100": found[best][0], "P@1": found[best][1], "blend": best}
        for name, alone in (("appearance", 0.0), ("moving", 1.0)):
            figures[name] = found[alone][0] if alone in found else self.precisions((appearance, moving)[int(alone)])[0]
        return {**figures, "spread": spread, **self._codes(model), **self._probes(model)}

    def cosines(self, model: MapIvr) -> tuple[Floats, Floats, float]:
        """Return 1 - S_A and 1 - S_V of every still and clip, (n, g) each, and the spread of rebuilt clips."""
        clips = torch.from_numpy(self.videos).to(model.codes.device)
        a_v, v = _batched(model.embed_video, clips), unit(clips)
        parts = [self._block(model, start, a_v, v) for start in range(0, len(self.images), BLOCK)]
        weights = [len(part[0]) for part in parts]
        spread = float(np.average([part[2] for part in parts], weights=weights))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), spread

    def precisions(self, scores: Floats) -> tuple[float, float]:
        """Return the mean of APh@100 and of P@1 of scores (n, g); clips that do not compete are left out."""
        ranked = [self._ranked(row, line) for row, line in enumerate(scores)]
        return float(np.mean([aph(right) for right in ranked])), float(np.mean([right[:1].any() for right in ranked]))

    def _block(self, model: MapIvr, start: int, a_v: Tensor, v: Tensor) -> tuple[Floats, Floats, float]:
        images = torch.from_numpy(self.images[start : start + BLOCK]).to(model.codes.device)
        a_u = model.embed_image(images)
        imagined = model.imagine(a_u, model.config.samples)
        nearest = torch.full((len(a_u), len(v)), -1.0, device=v.device)
        for code in range(imagined.shape[1]):
            nearest = torch.maximum(nearest, imagined[:, code] @ v.T)
        spread = 1 - (imagined * unit(imagined.mean(dim=1, keepdim=True))).sum(dim=2)
        return (a_u @ a_v.T).cpu().numpy(), nearest.cpu().numpy(), spread.mean().item()

    def _ranked(self, row: int, line: Floats) -> NDArray[np.bool_]:
        """Return whether each of the first hits of a still is right."""
        right = np.zeros(len(line), bool)
        right[self.pairs.answers[row]] = True
        competes = np.ones(len(line), bool)
        competes[self.pairs.out[row]] = False
        line, right = line[competes], right[competes]
        order = np.lexsort((right, -line))[:DEPTH]  # of equal scores the wrong ones come first
        return right[order]

    def _codes(self, model: MapIvr) -> dict[str, float]:
        clips = torch.from_numpy(self.videos).to(model.codes.device)
        motion = _batched(lambda part: model.motion(scaled(part)), clips)
        mean, logvar = model.mean(motion), model.logvar(motion)
        nats = loss.kl(mean, logvar)
        appearance = torch.cat([_batched(model.embed_video, clips), motion])
        dead = (appearance == 0).all(dim=1).float().mean()
        return {"kl": nats.sum().item(), "active": (nats > loss.ACTIVE).float().mean().item(), "dead": dead.item()}

    def _probes(self, model: MapIvr) -> dict[str, float]:
        if self.probe is None:
            return {}
        device, found = model.codes.device, {}
        parts = {"motion": lambda x: model.motion(scaled(x)), "appearance": lambda x: model.appearance(scaled(x))}
        for part, encode in parts.items():
            learn, test = (
                _batched(encode, torch.from_numpy(rows).to(device)).cpu().numpy()
                for rows in (self.probe.learn, self.probe.test)
            )
            for name, values in self.probe.values.items():
                found[f"{part}_{name}"] = probed(learn, values[0], test, values[1])
        return found


def probe_of(learn: Pairs, test: Pairs, learnt: Floats, tested: Floats, columns: Sequence[str]) -> Probe:
    """Return the probes of the activity and of metadata columns; those without values in both parts are left out."""
    values: dict[str, tuple[list[str], list[str]]] = {}
    named = not any(name.startswith(UNNAMED) for name in (*learn.classes, *test.classes))
    if named and all(len(each) == 1 for each in (*learn.shown, *test.shown)):
        values["activity"] = ([each[0] for each in learn.shown], [each[0] for each in test.shown])
    for column in columns:
        both = tuple([str(meta.get(column, "")) for meta in part.meta] for part in (learn, test))
        if all(any(side) for side in both):
            values[column] = (both[0], both[1])
    return Probe(learnt, tested, values)


def probed(learn: Floats, values: Sequence[str], test: Floats, truth: Sequence[str]) -> float:
    """Return the accuracy of a linear probe: ridge regression to one indicator per value, the largest wins."""
    names, target = np.unique(np.asarray(values), return_inverse=True)
    middle, scale = learn.mean(axis=0), learn.std(axis=0) + 1e-6
    x, y = (learn - middle) / scale, np.eye(len(names))[target]
    gram = x.T @ x + _PENALTY * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram.astype(np.float64), x.T @ (y - y.mean(axis=0)))
    guess = names[((test - middle) / scale @ weights + y.mean(axis=0)).argmax(axis=1)]
    return float(np.mean(guess == np.asarray(truth)))


def aph(right: NDArray[np.bool_]) -> float:
    """Return the mean precision at the ranks of the hits, 0 without a hit (AP@K as APIVR computes it).

    >>> round(aph(np.array([True, False, True])), 4)
    0.8333
    """
    ranks: Rows = np.flatnonzero(right) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


def _batched(encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([encode(rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)])
