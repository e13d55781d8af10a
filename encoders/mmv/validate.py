"""How well MMV finds clips by their sound and words, measured while it learns.

Shapes: n clips, D width of a space.
"""

from itertools import permutations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from quiver.encoders.mmv.data import Clips, hear
from quiver.encoders.mmv.graph import trained
from quiver.encoders.mmv.model import MMV
from quiver.errors import NoRoute

#: Vectors (n, D) by modality and space; by modality, which clips have it.
Embedded = tuple[dict[tuple[str, str], Tensor], dict[str, Tensor]]


def recalls(model: MMV, clips: Clips, *, batch: int) -> dict[str, float]:
    """Search each clip's counterpart among all clips that have both, in every direction that has a common space.

    Of several texts the nearest one asks and answers.

    Returns:
        ``recall``, the mean of R@1 and R@10 over the directions that training compares, then R@1 and R@10 of each
        direction, as in ``text_video_R@1``; from 0 to 1. Chance is k over the number of clips.
    """
    vectors, there = embed(model, clips, batch=batch)
    figures: dict[str, float] = {}
    compared, counted = trained(model.config, model.config.modalities), []
    for asks, finds in permutations(there, 2):
        try:
            space = model.graph.common(asks, finds)[0]
        except NoRoute:
            continue
        both = there[asks] & there[finds]
        if not both.any():
            continue
        rank = ranks(vectors[asks, space][both], vectors[finds, space][both])
        for k in (1, 10):
            figures[f"{asks}_{finds}_R@{k}"] = (rank <= k).double().mean().item()
        if space in (compared.get((asks, finds)), compared.get((finds, asks))):
            counted += [figures[f"{asks}_{finds}_R@{k}"] for k in (1, 10)]
    return {"recall": sum(counted) / max(len(counted), 1), **figures}


def ranks(asking_nD: Tensor, found_nD: Tensor) -> Tensor:
    """Return the rank, from 1, of found row i for asking row i by cosine; those as near share their ranks' mean."""
    scores_nn = normalize(asking_nD, dim=1) @ normalize(found_nD, dim=1).T
    own_n1 = scores_nn.diagonal()[:, None]
    return 1 + (scores_nn > own_n1).sum(1) + ((scores_nn == own_n1).sum(1) - 1) / 2


@torch.inference_mode()
def embed(model: MMV, clips: Clips, *, batch: int) -> Embedded:
    """Embed all clips, the nearest text of each, in all spaces."""
    place = next(model.parameters()).device
    rows: dict[tuple[str, str], list[Tensor]] = {}
    there: dict[str, list[Tensor]] = {}
    for given in clips.batches(batch):
        held = {"video": torch.ones(len(given["group"]), dtype=torch.bool)} if "video" in given else {}
        if "audio" in given:
            given["audio"], held["audio"] = hear(given["audio"].to(place), model.config), given["heard"]
        if "text" in given:
            given["text"], held["text"] = given["text"][:, 0], given["told"][:, 0]
        for modality, mask in held.items():
            there.setdefault(modality, []).append(mask)
            features = model.features(modality, given[modality].to(place))
            for space in model.graph.spaces(modality):
                rows.setdefault((modality, space), []).append(model.graph.project(modality, features, space).cpu())
    return {key: torch.cat(parts) for key, parts in rows.items()}, {key: torch.cat(each) for key, each in there.items()}
