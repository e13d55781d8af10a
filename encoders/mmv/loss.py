"""The contrastive losses of MMV: each clip against the sounds and narrations of all clips of the batch.

Alayrac et al. 2020, arXiv:2006.16228; MIL-NCE: Miech et al. 2020, arXiv:1912.06430.
Reference: antoine77340/MIL-NCE_HowTo100M, loss.py, and google-research, vatt/utils/train/objectives.py (AsymmetricNCE),
both Apache-2.0. No training code of MMV itself is public.
Deviates: the positive stands once in the denominator, as in the papers, where both references have it twice
(``count_positive_twice``); the sum is not divided by the sum of the weights.

With s_ijk = cos(v_i, t_jk) / temperature::

    L_i = -log  sum_k exp s_iik / (sum_k exp s_iik + sum_{j != i} sum_k (exp s_ijk + exp s_jik))
        = softplus(logsumexp of the negatives - logsumexp of the positives)

and with the positives twice in the denominator softplus(L_i).

On several ranks each computes the losses of its own b clips, from their videos with all B clips' narrations and from
their narrations with all B videos, so that the mean over ranks is the loss of the joined batch.

Shapes: B clips, K narrations of a clip, D width of the space; i, j are clips; b clips of this rank.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from quiver.encoders._train.rank import gathered, over_ranks, own_start
from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.graph import trained
from quiver.errors import BadData

#: What stands for the similarity of a pair that does not count. Infinity would make gradients of empty sums nan.
_NEVER = -1e9
#: Parts of a batch that the comparison needs besides vectors; see ``contrast``.
COMPARED = ("heard", "told", "group")


def nce(
    video_BD: Tensor,
    audio_BD: Tensor,
    *,
    temperature: float,
    mask: Tensor | None = None,
    same: Tensor | None = None,
    count_positive_twice: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Contrast the videos and sounds of a batch, in both directions: ``milnce`` with one candidate.

    Args:
        video_BD: (B, D), of any length.
        audio_BD: (B, D), row i belongs to row i of the videos.
        temperature: divides the cosines.
        mask: (B,) bool, which clips have sound; None for all.
        same: (B, B) bool, symmetric: clips that are not each other's negatives; its diagonal does not matter.
        count_positive_twice: as the references do.
        normalise: compare cosines; otherwise plain dot products.

    Returns:
        () float32, the mean over the clips with sound; 0 where there are none.
    """
    return milnce(
        video_BD,
        audio_BD[:, None],
        temperature=temperature,
        mask=None if mask is None else mask[:, None],
        same=same,
        count_positive_twice=count_positive_twice,
        normalise=normalise,
    )


def milnce(
    video_BD: Tensor,
    text_BKD: Tensor,
    *,
    temperature: float,
    mask: Tensor | None = None,
    same: Tensor | None = None,
    count_positive_twice: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Contrast videos with narrations; any of a clip's K narrations can be the right one.

    A clip without narrations has no loss of its own; its video still is a negative of the others' narrations.

    Args:
        video_BD: (B, D), of any length.
        text_BKD: (B, K, D), the candidates of each clip.
        temperature: divides the cosines.
        mask: (B, K) bool, which candidates there are; None for all.
        same: (B, B) bool, symmetric: clips that are not each other's negatives; its diagonal does not matter.
        count_positive_twice: as the references do.
        normalise: compare cosines; otherwise plain dot products.

    Returns:
        () float32, the mean over the clips with a narration; 0 where there are none.
    """
    return _of_rows(
        Sides(video_BD, text_BKD, video_BD, text_BKD),
        temperature=temperature,
        mask=mask,
        same=same,
        count_positive_twice=count_positive_twice,
        normalise=normalise,
    )


class Sides(NamedTuple):
    """Vectors of this rank's clips, (b, D) and (b, K, D), and of all ranks' clips, (B, D) and (B, K, D)."""

    video: Tensor
    text: Tensor
    videos: Tensor
    texts: Tensor

    @classmethod
    def of(cls, video: Tensor, text: Tensor) -> "Sides":
        """Gather those of the other ranks."""
        return cls(video, text, gathered(video), gathered(text))


def _of_rows(
    sides: Sides,
    *,
    temperature: float,
    mask: Tensor | None,
    same: Tensor | None,
    count_positive_twice: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Return ``milnce`` of this rank's clips among all; ``mask`` (B, K) and ``same`` (B, B) are those of all ranks."""
    count, several = len(sides.video), len(sides.videos) > len(sides.video)
    first = own_start(count) if several else 0
    if mask is None:
        mask = torch.ones(sides.texts.shape[:2], dtype=torch.bool, device=sides.texts.device)
    own = slice(first, first + count)
    row_bBK = (_similarity(sides.video, sides.texts, normalise=normalise) / temperature).masked_fill(~mask, _NEVER)
    if not several:
        column_bBK = row_bBK.transpose(0, 1)
    else:
        column_BbK = _similarity(sides.videos, sides.text, normalise=normalise) / temperature
        column_bBK = column_BbK.masked_fill(~mask[own], _NEVER).transpose(0, 1)
    places = torch.arange(count, device=row_bBK.device)
    positive_b = row_bBK[places, first + places].logsumexp(dim=1)
    apart_bB = row_bBK.new_zeros(row_bBK.shape[:2], dtype=torch.bool) if same is None else same[own].clone()
    apart_bB[places, first + places] = True
    # Row i: the others' narrations for video i. Column i: the narrations of clip i for the others' videos.
    negative_b2BK = torch.cat([row_bBK, column_bBK], dim=1).masked_fill(apart_bB.repeat(1, 2)[..., None], _NEVER)
    told_b = mask[own].any(dim=1)
    loss_b = softplus(negative_b2BK.flatten(1).logsumexp(dim=1) - positive_b)[told_b]
    if count_positive_twice:
        loss_b = softplus(loss_b)
    told = told_b.sum()
    return loss_b.sum() / (over_ranks(told).clamp(min=1e-9) if several else told.clamp(min=1))


def contrast(
    outputs: Mapping[tuple[str, str], Tensor], batch: Mapping[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """Return the losses of a batch: weight_va NCE(video, audio) + weight_vt MIL-NCE(video, text).

    With ``weight_at`` there is a third, MIL-NCE(audio, text), of clips that have both.

    With several processes the batch is that of all of them together: each gathers the others' vectors, with
    gradient, and computes the loss of its own clips, so that the mean of their gradients is that of one process.

    Args:
        outputs: of the model in training: (B, D) by modality and space, (B, K, D) for text.
        batch: the batch they were made of. ``heard`` (B,) bool says which clips have sound, ``told`` (B, K) bool which
            narrations there are, ``group`` (B,) int64 which clips are not each other's negatives; each may be absent.
        config: graph, temperature and weights.

    Returns:
        () float32 by name: ``loss``, and its terms ``va``, ``vt`` and ``at`` without their weights, where the model has
        them.

    Raises:
        BadData: the batch holds less than two modalities.
    """
    given = {name: gathered(batch[name].long()) for name in ("group", "heard", "told") if name in batch}
    same = given["group"][:, None] == given["group"] if "group" in given else None
    heard = given["heard"] > 0 if "heard" in given else None
    told = given["told"] > 0 if "told" in given else None
    terms = {}
    for (one, other), space in trained(config, config.modalities).items():
        if (one, space) in outputs and (other, space) in outputs:
            found = outputs[other, space]
            sides = Sides.of(outputs[one, space], found[:, None] if other == "audio" else found)
            mask, apart = (None if heard is None else heard[:, None], same) if other == "audio" else (told, same)
            if one == "audio" and heard is not None:
                mask, apart = _silenced(sides.texts, mask, apart, heard)
            terms[one[0] + other[0]] = _of_rows(
                sides,
                temperature=config.temperature,
                mask=mask,
                same=apart,
                count_positive_twice=config.count_positive_twice,
            )
    if not terms:
        raise BadData("a batch needs two of video, audio and text: it has nothing to be contrasted")
    weights = {"va": config.weight_va, "vt": config.weight_vt, "at": config.weight_at}
    return {"loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum(), **terms}


def _silenced(text_BKD: Tensor, told: Tensor | None, same: Tensor | None, heard_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return which texts count, and which clips are no negatives, where some clips have no sound to compare."""
    texts = torch.ones(text_BKD.shape[:2], dtype=torch.bool, device=heard_B.device) if told is None else told
    silent_BB = ~(heard_B[:, None] & heard_B)
    return texts & heard_B[:, None], silent_BB if same is None else silent_BB | same


def _similarity(video_BD: Tensor, text_BKD: Tensor, *, normalise: bool) -> Tensor:
    """Return (B, B, K) float32: video i with candidate k of clip j. Half precision would round s by 0.05."""
    with torch.autocast(video_BD.device.type, enabled=False):
        video_BD, text_BKD = _wide(video_BD), _wide(text_BKD)
        if normalise:
            video_BD, text_BKD = normalize(video_BD, dim=-1), normalize(text_BKD, dim=-1)
        return torch.einsum("id,jkd->ijk", video_BD, text_BKD)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
