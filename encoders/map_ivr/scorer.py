"""Ranks clips for a still by S_all, exactly and by one largest inner product.

With vectors of length 1, the joint vector [a_v ; v] of a clip, the appearance a_u of the still and h rebuilt clips v_i,

    1 - S_all = (1 - l) <a_u, a_v> + l max_i <v_i, v> = max_i < [(1 - l) a_u ; l v_i], [a_v ; v] >.

So a query is one probe of h vectors with the largest product, h and lambda are the query's own, and an exact search of
the joint column gives the ranking of the scorer. Several stills are one: the mean of their directions.

Shapes: q queries, h codes, n clips, D appearance, F video features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from quiver.encoders import _pool
from quiver.encoders.map_ivr.model import MapIvr
from quiver.errors import BadSpec
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Probe, Space


class Embeds(Protocol):
    """The parts of an encoder that the scorer uses."""

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces of a key."""
        ...

    def reader(self, key: str) -> Reader:
        """Return its decoder."""
        ...

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, dim) float32."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """The scorer of one model.

    Attributes:
        model: in eval mode.
        encoder: embeds stills.
        clips: the joint space of clips.
        blend: lambda, the share of the motion distance, of queries that say nothing else.
        samples: number h of motion codes.
        name: ``map_ivr``, with the options that differ from the model's own, so that a collection can have several.
    """

    model: MapIvr
    encoder: Embeds
    clips: Space
    blend: float
    samples: int
    name: str = "map_ivr"

    @property
    def holds(self) -> tuple[str, ...]:
        """A still, or several."""
        return ("image",)

    @property
    def finds(self) -> str:
        """Clips."""
        return "video"

    @property
    def reads(self) -> tuple[Space, ...]:
        """The joint space."""
        return (self.clips,)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """``joint``, which is exact; ``mean``, the mean of its h vectors; and ``appearance``, that of the still."""
        return {"joint": (self.clips,), "mean": (self.clips,), "appearance": self.encoder.spaces("image")}

    @property
    def exact(self) -> bool:
        """True: the largest product with the probe's vectors is the score."""
        return True

    @property
    def device(self) -> str:
        """Its device."""
        return str(self.model.codes.device)

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Return the joint probes of q queries, ``ask`` (q, h, D + F), and their appearance, ``still`` (q, D).

        The weight of ``image`` is the share of the appearance, 1 - lambda.

        Raises:
            BadMedia: a still cannot be read.
            BadSpec: a query has no still, or a weight outside 0 to 1.
        """
        appearance = np.stack([self._appearance(each) for each in asked])
        share = np.array([self._share(each) for each in asked], np.float32)[:, None, None]
        with torch.inference_mode():
            imagined = self.model.imagine(torch.from_numpy(appearance).to(self.model.codes.device), self.samples)
        seen = np.broadcast_to(appearance[:, None], (len(asked), self.samples, appearance.shape[1]))
        ask = np.concatenate([share * seen, (1 - share) * imagined.cpu().numpy()], axis=2)
        return {"ask": ask, "still": appearance}

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Return the query vectors of a recall method.

        Raises:
            BadSpec: there is no such recall.
        """
        if recall in ("joint", "mean"):
            return (Probe(self.clips, held["ask"], reduce="max" if recall == "joint" else "mean"),)
        if recall != "appearance":
            raise BadSpec(f"map_ivr recalls by {', '.join(self.recalls)}, not {recall!r}")
        (space,) = self.encoder.spaces("image")
        return (Probe(space, held["still"][:, None]),)

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return 1 - S_all of every clip for every query, (q, n) float32."""
        terms = self.terms(held, columns)
        return terms["appearance"] + terms["motion"]

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return ``appearance``, (1 - l) (1 - S_A), and ``motion``, l (1 - S_V): (q, n) each."""
        ask, clips, width = held["ask"], columns[self.clips], self.model.config.dim
        seen, features = clips[:, :width], clips[:, width:]
        motion = ask[:, 0, width:] @ features.T
        for code in range(1, ask.shape[1]):
            np.maximum(motion, ask[:, code, width:] @ features.T, out=motion)
        return {"appearance": ask[:, 0, :width] @ seen.T, "motion": motion}

    def _share(self, asked: ScorerInput) -> float:
        """Return the share of the appearance of a query."""
        share = asked.weights.get("image", 1 - self.blend)
        if set(asked.weights) - {"image"} or not 0 <= share <= 1:
            raise BadSpec(
                "map_ivr takes a weight of image from 0 (motion alone) to 1 (appearance alone): it is 1 - lambda; "
                f"not {dict(asked.weights)}"
            )
        return float(share)

    def _appearance(self, asked: ScorerInput) -> Floats:
        """Return the unit appearance vector (D,) of a query."""
        (space,) = self.encoder.spaces("image")
        read = self.encoder.reader("image")
        stills = [read(source) for source in asked.media.get("image", ())]
        rows = [*(self.encoder.embed("image", stills, space) if stills else ()), *asked.examples.get(space, ())]
        if not rows:
            raise BadSpec("map_ivr needs a still: give an image, or like with a stored picture")
        unit = _pool.unit(np.stack(rows))
        return unit[0] if len(unit) == 1 else _pool.unit(unit.mean(axis=0, keepdims=True))[0]
