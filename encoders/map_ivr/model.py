"""MAP-IVR: a still finds clips of its activity, by appearance and by motion.

Liu, Li, Niu, Xu, Zhang, "Activity Image-to-Video Retrieval by Disentangling Appearance and Motion", AAAI 2021. No
code of it is public; layers and widths follow the sister method of the same group (BDT, later STRAD, for sketches):
FC - BN - ReLU - FC - BN - ReLU encoders, a decoder FC - ReLU - FC.

A clip v has a motion vector m and an appearance vector a_v; a still u has an appearance vector a_u in the same space.
From m comes a code z = mu + s * eps, and from [z; a_u] the decoder rebuilds v. A query draws h codes, rebuilds h clips
that a still of this appearance may belong to, and takes the nearest:

    S_A = 1 - cos(a_u, a_v),  S_V = min_i (1 - cos(v, D(z_i, a_u))),  S_all = (1 - l) S_A + l S_V.

Deviates: features have length sqrt(width), so that stored vectors of unit length determine everything; a_u enters the
decoder with length sqrt(D), so that a stored appearance vector can be a query; no ReLU at the inputs, and one at the
end of the decoder only if no feature of the training set is negative; log s^2 instead of s.

Shapes: B rows, F_u features of a still, F features of a clip, D appearance and motion, Z code, C classes, H codes.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders._saved import Saved
from quiver.encoders.map_ivr.config import CODES, Config

#: Range of log s^2: outside it the exponential overflows, or the code has no spread left.
LOGVAR = (-12.0, 8.0)


class Output(NamedTuple):
    """What the model makes of a batch.

    Attributes:
        motion: (B, D) of clips.
        appearance_v: (B, D) of clips.
        appearance_u: (B, D) of stills.
        mean: (B, Z) of the code.
        logvar: (B, Z), logarithm of its variance.
        guess: (B, F) rebuilt clips.
        logits_v: (B, C) of clips.
        logits_u: (B, C) of stills.
    """

    motion: Tensor
    appearance_v: Tensor
    appearance_u: Tensor
    mean: Tensor
    logvar: Tensor
    guess: Tensor
    logits_v: Tensor
    logits_u: Tensor


def branch(width: int, config: Config) -> nn.Sequential:
    """Create an encoder from (B, width) to (B, D), without negative entries."""
    return nn.Sequential(
        nn.Linear(width, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, config.dim),
        nn.BatchNorm1d(config.dim),
        nn.ReLU(),
    )


class MapIvr(Saved):
    """The model.

    Attributes:
        motion: from a clip to its motion vector.
        appearance: from a clip to its appearance vector.
        still: from a still to its appearance vector.
        mean: from a motion vector to the mean of the code.
        logvar: from a motion vector to the logarithm of its variance.
        decode: from code and appearance to the features of a clip.
        classify: from an appearance vector to logits, for stills and clips alike.
        confidence: from a window's features to logits, by which the windows of a clip are chosen.
        codes: (H, Z) codes of queries, drawn once.
    """

    codes: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, classes = config.video.width, max(1, len(config.classes))
        self.motion = branch(width, config)
        self.appearance = branch(width, config)
        self.still = branch(config.image.width, config)
        self.mean = nn.Linear(config.dim, config.code)
        self.logvar = nn.Linear(config.dim, config.code)
        last = [nn.ReLU()] if config.positive else []
        self.decode = nn.Sequential(
            nn.Linear(config.code + config.dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width), *last
        )
        self.classify = nn.Linear(config.dim, classes)
        self.confidence = nn.Linear(width, classes)
        drawn = np.random.default_rng(config.seed).standard_normal((max(CODES, config.samples), config.code))
        self.register_buffer("codes", torch.from_numpy(drawn.astype(np.float32)))

    def forward(self, image: Tensor, video: Tensor) -> Output:
        """Encode stills (B, F_u) and clips (B, F) of the same activities, draw codes, and rebuild the clips."""
        image, video = scaled(image), scaled(video)
        motion, appearance_v, appearance_u = self.motion(video), self.appearance(video), self.still(image)
        mean, logvar = self.mean(motion), self.logvar(motion).clamp(*LOGVAR)
        code = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        return Output(
            motion,
            appearance_v,
            appearance_u,
            mean,
            logvar,
            self._decoded(code, appearance_u),
            self.classify(appearance_v),
            self.classify(appearance_u),
        )

    def embed_image(self, image: Tensor) -> Tensor:
        """Return the unit appearance vectors (B, D) of stills (B, F_u)."""
        return unit(self.still(scaled(image)))

    def embed_video(self, video: Tensor) -> Tensor:
        """Return the unit appearance vectors (B, D) of clips (B, F)."""
        return unit(self.appearance(scaled(video)))

    def imagine(self, appearance: Tensor, samples: int) -> Tensor:
        """Return clips that stills may belong to.

        Args:
            appearance: (B, D), of any length.
            samples: number h of codes, at most H; the first ones are the same for every h.

        Returns:
            (B, h, F) of unit length.
        """
        codes = self.codes[:samples].expand(len(appearance), -1, -1)
        return unit(self._decoded(codes, appearance[:, None].expand(-1, samples, -1)))

    def confidences(self, windows: Tensor) -> Tensor:
        """Return the largest class probability (n,) of windows (n, F)."""
        return self.confidence(scaled(windows)).softmax(dim=1).amax(dim=1)

    def _decoded(self, code: Tensor, appearance: Tensor) -> Tensor:
        length = math.sqrt(appearance.shape[-1])
        rebuilt: Tensor = self.decode(torch.cat([code, length * unit(appearance)], dim=-1))
        return rebuilt

    def generate_model_card(self) -> ModelCard:
        """Return the README that is saved next to the weights: description and use of the model."""
        config = self.config
        return ModelCard(
            "---\nlibrary_name: quiver-search\ntags:\n- multimodal\n- retrieval\n---\n"
            f"# {config.name}\n\nMAP-IVR: stills find clips of {len(config.classes)} activities.\n\n"
            f"- stills: `{config.image.spec}`\n- clips: `{config.video.spec}`\n- lambda: {config.blend:g}\n\n"
            "`quiver` takes it as `map_ivr checkpoint=FOLDER`.\n"
        )


def unit(x: Tensor) -> Tensor:
    """Scale vectors (..., n) to length 1; one of zeros stays."""
    return functional.normalize(x.float(), dim=-1, eps=1e-6)


def scaled(features: Tensor) -> Tensor:
    """Scale features (..., F) to length sqrt(F), so that an entry is about 1."""
    return math.sqrt(features.shape[-1]) * unit(features)
