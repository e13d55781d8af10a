"""Features of stills and clips: frozen encoders, windows, and the mean of those of highest class confidence.

Shapes: n stills, g clips, w windows of all clips, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from quiver.encoders import _frozen
from quiver.encoders._train import extract
from quiver.encoders._train.reading import attempt
from quiver.encoders.map_ivr.data import Pairs
from quiver.encoders.map_ivr.model import MapIvr, scaled
from quiver.encoders.map_ivr.window import Windows
from quiver.types import Floats, Rows

#: Weight decay and iterations of the classifier of windows.
_PENALTY, _ITERATIONS = 1e-3, 200


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Features of the windows of clips.

    Attributes:
        rows: (w, F) of all readable windows.
        owner: (w,) int64 the clip of each.
        score: (w,) confidence of each from a file of proposals; NaN if it has none.
        count: number of clips.
    """

    rows: Floats
    owner: Rows
    score: NDArray[np.float64]
    count: int

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(g,) whether a clip has a readable window."""
        seen = np.zeros(self.count, bool)
        seen[self.owner] = True
        return seen

    def pooled(self, keep: int, confidence: Callable[[Floats], Floats]) -> Floats:
        """Return the features of clips, (g, F): the mean of ``keep`` windows each; zeros of an unreadable one."""
        score = chosen_by(self.score, self.rows, keep, confidence)
        pooled = np.zeros((self.count, self.rows.shape[1]), np.float32)
        order = np.argsort(self.owner, kind="stable")
        clips, starts = np.unique(self.owner[order], return_index=True)
        for clip, places in zip(clips.tolist(), np.split(order, starts[1:]), strict=True):
            pooled[clip] = pool(self.rows[places], score[places], keep)
        return pooled


def extract_clips(spec: str, clips: Sequence[Any], windows: Windows, *, cache: Path | None) -> Cut:
    """Embed the windows of clips; windows that cannot be decoded are left out, with a line in the quarantine."""
    refs: list[Any] = []
    owner: list[int] = []
    scores: list[float | None] = []
    for number, clip in enumerate(clips):
        parts, reason = attempt(windows.cut, clip)
        own, score = ([clip], [None]) if reason else parts  # read as a whole it gives its reason
        refs += own
        owner += [number] * len(own)
        scores += score
    # One by one, so that another mixture of encoders finds them in the cache.
    found = [extract(each, "video", refs, cache=cache) for each in _frozen.split(spec)]
    rows = np.concatenate([part for part, _ in found], axis=1)
    readable = np.logical_and.reduce([mask for _, mask in found])
    told = np.array([np.nan if score is None else score for score in scores], np.float64)
    return Cut(rows[readable], np.array(owner, np.int64)[readable], told[readable], len(clips))


def chosen_by(
    score: NDArray[np.float64], rows: Floats, keep: int, confidence: Callable[[Floats], Floats]
) -> NDArray[np.float64]:
    """Return the confidence of windows: those of the proposals, else of the classifier if it is needed at all."""
    unknown = np.isnan(score)
    if not keep or not unknown.any():
        return score
    return np.where(unknown, confidence(rows), score)


def pool(rows: Floats, score: NDArray[np.float64], keep: int) -> Floats:
    """Return the mean (F,) of the ``keep`` rows of highest score; of all if there are fewer, or ``keep`` is 0."""
    if keep and keep < len(rows):
        rows = rows[np.sort(np.argsort(-score, kind="stable")[:keep])]
    return np.asarray(rows.mean(axis=0, dtype=np.float64), np.float32)


def learn_confidence(model: MapIvr, cut: Cut, pairs: Pairs) -> None:
    """Fit the classifier of windows: logistic regression from a window to the activity of its clip."""
    number = {name: place for place, name in enumerate(pairs.classes)}
    target = [number[pairs.shown[clip][0]] if pairs.shown[clip] else -1 for clip in cut.owner.tolist()]
    label = torch.tensor(target)
    known, head = label >= 0, model.confidence
    x, y = scaled(torch.from_numpy(cut.rows))[known], label[known]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(head(x), y) + _PENALTY * head.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    head.zero_grad(set_to_none=True)
    head.requires_grad_(False)


def confidences(model: MapIvr) -> Callable[[Floats], Floats]:
    """Return the function from windows (w, F) to their confidences (w,)."""

    def confidence(rows: Floats) -> Floats:
        with torch.inference_mode():
            place = model.codes.device
            found: Floats = model.confidences(torch.from_numpy(rows).to(place)).cpu().numpy()
        return found

    return confidence
