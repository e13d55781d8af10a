"""Composers, from picture and words to the terms of a score: ARTEMIS, its two halves, and baselines.

Delmas, Rezende, Csurka, Larlus, "ARTEMIS: Attention-based Retrieval with Text-Explicit Matching and Implicit
Similarity", ICLR 2022. Reference: naver/artemis, CC BY-NC-SA 4.0, of which nothing was taken: formulas only.
TIRG: Vo et al., "Composing Text and Image for Image Retrieval", CVPR 2019; reference google/tirg, Apache-2.0.

    artemis        <Tr(m), N(A_EM(m) * t)> + <N(A_IS(m) * r), N(A_IS(m) * t)>
    em, is         its first, its second term alone
    tirg           <N(sigmoid(g(r, m)) * r * a_0 + h(r, m) * a_1), t>
    late_fusion    <N(r + m), t>
    cross_modal    <m, t>
    visual_search  <r, t>

Deviates: attention can be mixed with uniform attention, shared by all queries, or left out (``Config.attention``).
Legend: r (B, D) reference, m (B, D) words, t target, a and b attention; N() scales to length 1.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.score import Term, Terms, explicit, full, implicit


class Composer(Protocol):
    """Base of composers: a module from reference (B, D) and words (B, D) to terms by name."""

    def __call__(self, reference: Tensor, words: Tensor) -> Terms:
        """Return the terms; the scores are their sum."""
        ...


class Attention(nn.Module):
    """Weights of the features, positive, 1 at most: exp(logit - max), the softmax up to its sum.

    Args:
        config: ``attention`` says where the logits come from: a perceptron of the words, or a learned vector.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.mix = config.mix
        self.shared = nn.Parameter(torch.zeros(config.dim)) if config.attention == "shared" else None
        self.layers = perceptron(config.dim) if config.attention == "text" else None

    def forward(self, words_BD: Tensor) -> Tensor | None:
        """Return (B, D), or None if all features have the same weight."""
        if self.layers is not None:
            logits = full(self.layers(words_BD))
        elif self.shared is not None:
            logits = self.shared.expand(len(words_BD), -1)
        else:
            return None
        weights = (logits - logits.amax(dim=1, keepdim=True)).exp()
        return torch.lerp(weights, weights.mean(dim=1, keepdim=True), self.mix) if self.mix else weights


class Explicit(nn.Module):
    """Explicit matching: the attended target against the change that the words describe."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.transform = nn.Linear(config.dim, config.dim)
        self.attention = Attention(config)

    def forward(self, reference: Tensor, words_BD: Tensor) -> Terms:
        """Return the term ``change``; the reference is not looked at."""
        return {"change": explicit(normalize(self.transform(words_BD), dim=1), self.attention(words_BD))}


class Implicit(nn.Module):
    """Implicit similarity: target against reference, both as the words attend to them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = Attention(config)

    def forward(self, reference_BD: Tensor, words_BD: Tensor) -> Terms:
        """Return the term ``keep``."""
        return {"keep": implicit(reference_BD, self.attention(words_BD))}


class Artemis(nn.Module):
    """The sum of both."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.explicit = Explicit(config)
        self.implicit = Implicit(config)

    def forward(self, reference_BD: Tensor, words_BD: Tensor) -> Terms:
        """Return the terms ``change`` and ``keep``."""
        return {**self.explicit(reference_BD, words_BD), **self.implicit(reference_BD, words_BD)}


class Tirg(nn.Module):
    """The gated reference plus a residual, both of reference and words side by side."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wide = 2 * config.dim
        self.gate = nn.Sequential(nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, config.dim))
        self.residual = nn.Sequential(nn.BatchNorm1d(wide), nn.ReLU(), *perceptron(wide, out=config.dim))
        self.weights = nn.Parameter(torch.tensor([1.0, config.residual]))

    def compose(self, reference_BD: Tensor, words_BD: Tensor) -> Tensor:
        """Return (B, D), of any length, as the original compares them."""
        both = torch.cat([reference_BD, words_BD], dim=1)
        gated = self.gate(both).sigmoid() * reference_BD
        return gated * self.weights[0] + self.residual(both) * self.weights[1]

    def forward(self, reference_BD: Tensor, words_BD: Tensor) -> Terms:
        """Return the term ``composed``."""
        return {"composed": Term(normalize(self.compose(reference_BD, words_BD), dim=1))}


class LateFusion(nn.Module):
    """The sum of reference and words."""

    def forward(self, reference_BD: Tensor, words_BD: Tensor) -> Terms:
        """Return the terms ``keep`` and ``change``, which share the length of their sum."""
        length = (reference_BD + words_BD).norm(dim=1, keepdim=True).clamp_min(1e-12)
        return {"keep": Term(reference_BD / length), "change": Term(words_BD / length)}


class Alone(nn.Module):
    """Reference or words alone, as baselines."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.keep = config.composer == "visual_search"

    def forward(self, reference: Tensor, words: Tensor) -> Terms:
        """Return the one term, ``keep`` or ``change``."""
        return {"keep": Term(reference)} if self.keep else {"change": Term(words)}


def perceptron(wide: int, *, out: int | None = None) -> nn.Sequential:
    """Return Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, out or wide))


def vector(terms: Terms) -> Tensor:
    """Return the composed vector (B, D) of terms that have no norm to divide by."""
    return torch.stack([term.query for term in terms.values()]).sum(dim=0)


def build(config: Config) -> nn.Module:
    """Return the composer a configuration names."""
    from quiver.encoders.artemis.cirplant import Cirplant
    from quiver.encoders.artemis.combiner import Combiner

    if config.composer == "late_fusion":
        return LateFusion()
    kinds = {
        "artemis": Artemis,
        "em": Explicit,
        "is": Implicit,
        "tirg": Tirg,
        "cirplant": Cirplant,
        "combiner": Combiner,
    }
    return kinds.get(config.composer, Alone)(config)
