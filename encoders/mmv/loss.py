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

Shapes: B clips, K narrations of a clip, D width of the space; i, j are clips.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from quiver.encoders._train.rank import gathered
from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.graph import trained
from quiver.errors import BadData

#: What stands for the similarity of a pair that does not count. Infinity would make gradients of empty sums nan.
_NEVER = -1e9


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
    if mask is None:
        mask = torch.ones(text_BKD.shape[:2], dtype=torch.bool, device=text_BKD.device)
    told_B = mask.any(dim=1)
    s_BBK = _similarity(video_BD, text_BKD, normalise=normalise) / temperature
    s_BBK = s_BBK.masked_fill(~mask, _NEVER)
    own_BB = torch.eye(len(s_BBK), dtype=torch.bool, device=s_BBK.device)
    apart_BBK = s_BBK.masked_fill((own_BB if same is None else own_BB | same)[..., None], _NEVER)
    positive_B = s_BBK.diagonal().T.logsumexp(dim=1)
    # Row i: the others' narrations for video i. Column i: the narrations of clip i for the others' videos.
    negative_B = torch.cat([apart_BBK, apart_BBK.transpose(0, 1)], dim=1).flatten(1).logsumexp(dim=1)
    loss_B = softplus(negative_B - positive_B)[told_B]
    if count_positive_twice:
        loss_B = softplus(loss_B)
    return loss_B.sum() / max(len(loss_B), 1)


def contrast(
    outputs: Mapping[tuple[str, str], Tensor], batch: Mapping[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """Return the losses of a batch: weight_va NCE(video, audio) + weight_vt MIL-NCE(video, text).

    With ``weight_at`` there is a third, MIL-NCE(audio, text), of clips that have both.

    With several processes the batch is that of all of them together: each gathers the others' vectors, with
    gradient, and computes the whole loss, so that the mean of their gradients is that of one process.

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
            anchors, others = gathered(outputs[one, space]), gathered(outputs[other, space])
            mask, apart = (heard, same) if other == "audio" else (told, same)
            if one == "audio" and heard is not None:
                mask, apart = _silenced(others, mask, apart, heard)
            terms[one[0] + other[0]] = (nce if other == "audio" else milnce)(
                anchors,
                others,
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
