"""Losses of MAP-IVR.

Liu et al., "Activity Image-to-Video Retrieval by Disentangling Appearance and Motion", AAAI 2021. No code of it is
public: weights and reductions are ours and are settings (see ``Config``). With m a motion vector, a_v and a_u the
appearance vectors of a clip and of a still of one activity y, z ~ N(mu, s^2) and v the features of the clip:

    orthogonal   cos(m, a_v)
    classify     - log p(y | a_v) - log p(y | a_u)
    kl           KL(N(mu, s^2) || N(0, 1)) = -1/2 sum (1 + log s^2 - mu^2 - s^2)
    rebuild      |v - D(z, a_u)|^2

``triplet`` is not a part of it: it is the loss of its predecessor APIVR (AAAI 2020) without adversary and geometry,
for comparison.

Shapes: B rows, D appearance, Z code, F video features, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from quiver.encoders._train import gathered
from quiver.encoders.map_ivr.config import LOSSES, Config
from quiver.encoders.map_ivr.model import Output

#: Least length of a vector in a cosine: a vector of zeros, as a ReLU makes it, then has the cosine 0 with any other.
EPS = 1e-6
#: Nats from which a dimension of the code counts as active.
ACTIVE = 0.01


def losses(out: Output, video: Tensor, label: Tensor, config: Config) -> dict[str, Tensor]:
    """Return ``loss``, the weighted sum, and every loss whose weight is not 0.

    Args:
        out: output of the model for a batch.
        video: (B, F) features of its clips, as the model scales them.
        label: (B,) int64 classes.
        config: holds weights and the reduction.
    """
    each = {
        "classify": lambda: classify(out.logits_v, label) + classify(out.logits_u, label),
        "orthogonal": lambda: orthogonal(out.motion, out.appearance_v),
        "kl": lambda: _reduced(kl(out.mean, out.logvar), config),
        "rebuild": lambda: _reduced(rebuild(video, out.guess), config),
        "triplet": lambda: triplet(out.appearance_u, out.appearance_v, label, margin=config.margin),
    }
    found = {name: each[name]() for name in LOSSES if getattr(config, name)}
    total = torch.stack([getattr(config, name) * value for name, value in found.items()]).sum()
    return {"loss": total, **found}


def orthogonal(motion: Tensor, appearance: Tensor) -> Tensor:
    """Return the mean cosine of two (B, D); from 0 to 1 if neither has negative entries."""
    return functional.cosine_similarity(motion, appearance, dim=1, eps=EPS).mean()


def classify(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, C) and classes (B,)."""
    return functional.cross_entropy(logits, label)


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) || N(0, 1)) by dimension, averaged over rows: (Z,), in nats, at least 0."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(dim=0)


def rebuild(video: Tensor, guess: Tensor) -> Tensor:
    """Return the squared distance of two (B, F) by dimension, averaged over rows: (F,)."""
    return (video - guess).square().mean(dim=0)


def triplet(still: Tensor, clip: Tensor, label: Tensor, *, margin: float) -> Tensor:
    """Return the mean triplet loss of cosines, with the hardest clip of another class in the batch, both ways.

    On several ranks the batch is that of all of them, and the loss that of the own rows.

    Args:
        still: (B, D); row i belongs to row i of ``clip``.
        clip: (B, D).
        label: (B,) classes; rows of one class are no negatives of each other.
        margin: difference of cosines that is wanted.
    """
    still, clip = (functional.normalize(each, dim=1, eps=EPS) for each in (still, clip))
    alike = label[:, None] == gathered(label)
    right = (still * clip).sum(dim=1)
    forth, back = still @ gathered(clip).T, clip @ gathered(still).T
    hardest = torch.stack([wrong.masked_fill(alike, -1.0).amax(dim=1) for wrong in (forth, back)])
    return functional.relu(margin + hardest - right).mean()


def _reduced(by_dimension: Tensor, config: Config) -> Tensor:
    return by_dimension.sum() / (config.video.width if config.reduction == "mean" else 1)


def watched(out: Output) -> Mapping[str, Tensor]:
    """Return figures of a batch for the log, without gradients.

    Returns:
        ``active``: share of code dimensions that carry at least 0.01 nats; ``dead``: share of appearance and motion
        vectors that are all zero, whose cosine is undefined.
    """
    with torch.no_grad():
        active = (kl(out.mean, out.logvar) > ACTIVE).float().mean()
        rows = torch.cat([out.motion, out.appearance_v, out.appearance_u])
        return {"active": active, "dead": (rows == 0).all(dim=1).float().mean()}
