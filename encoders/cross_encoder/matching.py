"""BLIP and BLIP-2 with their heads for matching a text to an image.

The score is the logit of "matches" less that of "does not". Texts of a batch are padded and masked, and the model's own
image processor resizes pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.encoders import _hub
from quiver.encoders._precision import Precision, cast, dtype
from quiver.encoders.cross_encoder.reranker import Pairs
from quiver.errors import MissingWeights
from quiver.types import Floats

if TYPE_CHECKING:
    import torch

#: Classes of the library, and the argument that asks for the head.
_HEADS = {
    "BlipForImageTextRetrieval": "use_itm_head",
    "Blip2ForImageTextRetrieval": "use_image_text_matching_head",
}


def matches(folder: Path) -> bool:
    """Tell whether a folder has a model that matches text to images."""
    return bool(_class(folder))


def _class(folder: Path) -> str | None:
    named = _hub.described(folder).get("architectures") or ()
    return next((name for name in named if name in _HEADS), None)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A loaded model.

    Attributes:
        network: in eval mode.
        processor: of the checkpoint.
        head: the argument that asks for the head.
        length: tokens that a text may have; the rest is cut.
    """

    network: Any
    processor: Any
    head: str
    length: int

    def pairs(self, at_once: int) -> Pairs:
        """Return the scoring of pairs of a text and an image, in either order."""

        def score(pairs: Sequence[tuple[Any, Any]]) -> Floats:
            # Pairs of one length go together: then nothing is padded, and no score depends on its batch.
            order = np.argsort([len(_sides(pair)[0]) for pair in pairs], kind="stable")
            found = np.empty(len(pairs), np.float32)
            for start in range(0, len(pairs), at_once):
                chosen = order[start : start + at_once]
                found[chosen] = self._score([_sides(pairs[n]) for n in chosen])
            return found

        return score

    def _score(self, pairs: Sequence[tuple[str, Any]]) -> Floats:
        import torch

        inputs = self.processor(
            images=[picture for _, picture in pairs],
            text=[text for text, _ in pairs],
            padding=True,
            truncation=True,
            return_tensors="pt",
        ).to(self.network.device)
        with torch.inference_mode():
            output = self.network(**cast(dict(inputs), self.network.dtype), **{self.head: True})
        logits = output.itm_score if self.head == "use_itm_head" else output.logits_per_image
        found: Floats = (logits[:, 1] - logits[:, 0]).float().cpu().numpy()
        return found


def _sides(pair: tuple[Any, Any]) -> tuple[str, Any]:
    one, other = pair
    return (one, other) if isinstance(one, str) else (other, one)


def opened(folder: Path, place: "torch.device", precision: Precision) -> Matcher:
    """Load a folder.

    Raises:
        OSError: files are missing.
        MissingWeights: the weights cannot be read, do not fit, or are not complete.
    """
    import transformers

    name = _class(folder)
    assert name is not None, "matches() was asked first"
    try:
        network, report = getattr(transformers, name).from_pretrained(
            folder, dtype=dtype(precision), trust_remote_code=False, output_loading_info=True
        )
        processor: Any = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    if absent := sorted(report["missing_keys"]):
        raise MissingWeights(f"{folder} lacks {len(absent)} of the weights, such as {absent[0]}")
    config = network.config.qformer_config if hasattr(network.config, "qformer_config") else network.config.text_config
    length = min(int(config.max_position_embeddings), int(processor.tokenizer.model_max_length))
    processor.tokenizer.model_max_length = length  # a max_length of the call would count the tokens of an image too
    return Matcher(network.eval().requires_grad_(False).to(place), processor, _HEADS[name], length)
