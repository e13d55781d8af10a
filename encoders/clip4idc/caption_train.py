"""Stage two of CLIP4IDC, captioning: train a generator of sentences on the tokens of pairs; or DUDA on their features.

Guo et al. 2022, arXiv:2206.00629, section 3.3; Park et al. 2019, arXiv:1901.02527, section 4.4. Both learn from changed
and unchanged pairs. The best state is selected on the validation part, by CIDEr-D (the references select on the test
part, or by sampled captions).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders._pieces import Pieces
from quiver.encoders._train import Loop, Outcome, first, fit, gathered
from quiver.encoders.clip4idc import caption_loss, speak
from quiver.encoders.clip4idc.caption_config import Telling
from quiver.encoders.clip4idc.caption_config import Words as Ids
from quiver.encoders.clip4idc.caption_data import FetchTold, Told, collect
from quiver.encoders.clip4idc.caption_model import FOLDER, CaptionModel
from quiver.encoders.clip4idc.caption_recipe import Captioning
from quiver.encoders.clip4idc.caption_validate import best_prior, figures
from quiver.encoders.clip4idc.data import Captions, Pictures
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.recipe import Data
from quiver.encoders.clip4idc.words import Clip, Learnt, Words
from quiver.errors import require
from quiver.task import Task

#: Pairs whose mean memory is measured, and pairs by which the weight of the prior is chosen.
MEASURED, CHOSEN_BY = 2_000, 100
#: Pairs measured together.
AT_ONCE = 64
#: Below any mean over ranks of a number that is not 0.
_LEAST = 1e-6


#: Sentences with their pairs, the task that they are from, and inputs of the encoder of pairs.
Part = tuple[Captions, Task, Pictures]


def tell(
    model: Clip4Idc, told: Part, held: Part | None, out: Path, *, recipe: Captioning, data: Data, base: Loop
) -> Outcome:
    """Train a generator of sentences, and leave it in ``out/model/caption``.

    Args:
        model: whose encoder of pairs, sizes and vocabulary are taken.
        told: what is learnt from.
        held: the validation part; None keeps the last state.
        out: the folder of the run.
        recipe: how.
        data: share of distractors.
        base: the loop of stage one, whose other settings count.
    """
    words = vocabulary(model, told[0].texts)
    made = build(model, words, recipe, seed=base.seed)

    def collected(captions: Captions, task: Task, pictures: Pictures) -> Told:
        return collect(
            captions, task, pictures, encode=lambda texts: words.encode(texts, length=recipe.length), end=words.end
        )

    validation = None if held is None else collected(*held)
    learnt = FetchTold(collected(*told), data.distractors)
    outcome = learn(made, learnt, validation, out, recipe=recipe, base=base)
    if first():
        made.save(out / "model" / FOLDER, made.config)
    return outcome


def vocabulary(model: Clip4Idc, texts: list[str]) -> Words:
    """Return the vocabulary of a generator: that of stage one, or word pieces of the sentences where it has none."""
    return model.words or Learnt(Pieces.train(texts))


def build(model: Clip4Idc, words: Words, recipe: Captioning, *, seed: int) -> CaptionModel:
    """Make a generator with random weights, always the same of a seed, and a copy of the encoder of pairs.

    Args:
        model: of stage one.
        words: the vocabulary.
        recipe: sizes.
        seed: of the weights.
    """
    ids = Ids(
        size=len(words),
        begin=words.begin,
        end=words.end,
        pad=words.pad,
        length=recipe.length,
        clip=isinstance(words, Clip),
    )
    config = Telling(
        words=ids,
        name=model.config.name,
        generator=recipe.generator,
        vision=model.config.vision,
        dim=model.config.dim,
        writer=recipe.writer,
        duda=recipe.duda,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = CaptionModel(config)
    made.words = words
    if made.pairs is not None:
        made.pairs.load_state_dict(model.pairs.state_dict())
        made.pairs.requires_grad_(recipe.encoder > 0)
    return made


def learn(
    model: CaptionModel, fetch: FetchTold, held: Told | None, out: Path, *, recipe: Captioning, base: Loop
) -> Outcome:
    """Train a generator; the model is left with its best state, its mean memory and the weight of its prior.

    Args:
        model: of ``build``.
        fetch: makes batches of what is learnt from.
        held: what selects the best state by CIDEr-D, and the weight of the prior; None keeps the last state.
        out: the folder of the run.
        recipe: how.
        base: the loop of stage one, whose other settings count.

    Raises:
        BadData: the loss is not finite.
        MissingExtra: pycocoevalcap is not installed, and there is a validation part.
    """
    told = fetch.told
    if held is not None:
        require("pycocoevalcap", extra="captions")
    learnt = model.pairs is not None and recipe.encoder > 0
    loop = replace(recipe.loop(base), scales=f"pairs.={recipe.encoder}" if learnt else "")
    rows = _some(held, recipe.validate_on, loop.seed) if held is not None else np.empty(0, np.int64)
    if first():
        print(f"captioning: training on {told.describe()}")
    outcome = fit(
        model,
        _loss(recipe),
        fetch=fetch,
        count=len(told),
        out=out,
        loop=loop,
        validate=None if held is None else lambda trained: figures(cast(CaptionModel, trained), held, rows),
        phase="caption",
    )
    model.measure(_memories(model, told, _some(told, MEASURED, loop.seed)))
    if held is not None:
        prior = best_prior(model, held, _some(held, CHOSEN_BY, loop.seed))
        model.config = replace(model.config, prior=prior)
    return outcome


def _some(told: Told, most: int, seed: int) -> np.ndarray[Any, Any]:
    """Return the numbers of some pairs, drawn once."""
    return np.sort(np.random.default_rng(seed).permutation(len(told))[:most])


def _loss(recipe: Captioning) -> Callable[[nn.Module, Any], Mapping[str, Tensor]]:
    def loss(wrapped: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return batch_loss(wrapped, batch, attention=recipe.attention)

    return loss


def batch_loss(model: nn.Module, batch: Mapping[str, Any], *, attention: float) -> Mapping[str, Tensor]:
    """Return the loss of a batch: cross-entropy of words, and with DUDA the sum of attention of changed pairs.

    Averaged over ranks it is the loss of the batches of all ranks as one: sums are divided by numbers of words, and of
    pairs, that are means over ranks.
    """
    ids, changed = batch["ids"], batch["changed"]
    given, target = ids[:, :-1], ids[:, 1:]
    logp, state = model(batch["pictures"], given)
    counted = speak.counted(_plain(model).writer, ids)
    words = caption_loss.cross_entropy(logp, target, counted, divisor=_number(counted))
    if "maps" not in state:
        return {"loss": words}
    # half of the words of changed and of unchanged pairs each, as far as the batches have both
    parts = [
        caption_loss.cross_entropy(logp[each], target[each], counted[each], divisor=_number(counted[each]))
        for each in (changed, ~changed)
    ]
    pairs = _number(changed)
    both = bool(pairs >= _LEAST) and bool(_number(~changed) >= _LEAST)
    sums = state["maps"][changed].sum() / (2 * pairs)
    return {"loss": (sum(parts) / 2 if both else words) + attention * sums, "words": words.detach()}


def _number(mask: Tensor) -> Tensor:
    """Return how many are True, as a mean over ranks; where there are none, a number below any such mean."""
    return gathered(mask.sum()[None].float()).mean().clamp(min=_LEAST / 2)


def _plain(model: nn.Module) -> CaptionModel:
    """Return a model without accelerate's wrapping."""
    return cast(CaptionModel, getattr(model, "module", model))


@torch.no_grad()
def _memories(model: CaptionModel, told: Told, rows: Any) -> Iterator[Tensor]:
    for start in range(0, len(rows), AT_ONCE):
        pairs = told.captions.pairs[told.pairs[rows[start : start + AT_ONCE]], :2]
        yield model.memory(told.pictures(pairs).to(model.mean.device))
