"""Models of Hugging Face transformers: ``transformers model=google/siglip2-base-patch16-224`` or ``model=FOLDER``.

    text + image + video   CLIP and its kin, SigLIP, SigLIP 2   a video is the mean of its frames' unit vectors
    text + audio           CLAP                                 long audio is the mean of windows of ten seconds
    text + video           X-CLIP                               its own video tower, over its own number of frames
    image + video          DINOv2, DINOv3, ViT, Swin, ...
    text                   BERT, RoBERTa, MPNet, XLM-R, Qwen3, ...   masked mean, first or last token
    captions               BLIP, BLIP-2, Florence-2, Qwen3-VL, ...   embed nothing: ``quiver caption``, ``add --teller``

Library: github.com/huggingface/transformers, Apache-2.0. Code that comes with a model is never run. Weights are
complete: a checkpoint that lacks some of those used is refused, since the library would fill them with random numbers.
Vectors are computed in float32. Texts longer than a model's context are cut.

X-CLIP's text vectors are those before its video-conditioned prompting, which no index can hold.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub
from quiver.encoders._tower import Tower, Towers
from quiver.encoders.transformers.caption import Describes, Precision, Wanted, captioner, captions
from quiver.encoders.transformers.checkpoint import Checkpoint, Pooling, settings
from quiver.encoders.transformers.checkpoint import open as _open
from quiver.encoders.transformers.contrastive import AUDIO, IMAGE, VIDEO
from quiver.encoders.transformers.contrastive import towers as _contrastive
from quiver.encoders.transformers.single import TEXT, VISION
from quiver.encoders.transformers.single import towers as _single
from quiver.errors import BadSpec, optional
from quiver.types import Space

_FAMILIES = {**dict.fromkeys(IMAGE + AUDIO + VIDEO, _contrastive), **dict.fromkeys([*VISION, *TEXT], _single)}


def load(
    *,
    model: str,
    pooling: Pooling = "auto",
    frames: int | None = None,
    device: str = "auto",
    prompt: str | None = None,
    tokens: int | None = None,
    precision: Precision | None = None,
    batch: int | None = None,
) -> Towers | Describes:
    """Load a model.

    Args:
        model: a folder with ``config.json`` and weights, or a repository of the Hugging Face Hub.
        pooling: of models without a head for it: ``cls`` the first token, ``mean`` over tokens or patches,
            ``last`` token, ``pooler`` the model's own; ``auto`` is what the checkpoint's ``1_Pooling`` says,
            else what its family is usually trained for, which a warning names.
        frames: taken from a video, evenly spread; None for 8, or for as many as the model was made for.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        prompt: of a captioner: its prompt, such as ``<MORE_DETAILED_CAPTION>`` for Florence-2, or the question to a
            chat model; None for the usual one.
        tokens: of a captioner: largest number of tokens of a caption; None for 40.
        precision: of a captioner: ``auto`` (as the checkpoint is stored), ``fp32``, ``bf16`` or ``fp16``.
        batch: of a captioner: inputs that go through the network together; None for 8.

    Raises:
        BadSpec: a model of a kind that is not supported, or an option that does not fit it.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import transformers  # noqa: F401
    place = _device.pick(device)
    with _hub.quiet():
        config = _hub.load(model, settings, weights=False)
        kind = config.get("model_type")
        name = Path(model).expanduser().resolve().name if Path(model).expanduser().is_dir() else model
        given = {"prompt": prompt, "tokens": tokens, "precision": precision, "batch": batch}
        if kind not in _FAMILIES and captions(str(kind)):
            if pooling != "auto":
                raise BadSpec(f"a {kind} model describes pictures and pools nothing: leave out pooling")
            wanted = Wanted(
                prompt, 40 if tokens is None else tokens, precision or "auto", 8 if batch is None else batch, frames
            )
            return captioner(model, f"transformers/{name}", wanted, place)
        if odd := [option for option, value in given.items() if value is not None]:
            raise BadSpec(f"a {kind} model writes no captions: leave out {odd[0]}")
        if kind not in _FAMILIES:
            raise BadSpec(
                f"transformers model={model} is of type {kind!r}; supported are captioners, chat models and"
                f" {', '.join(sorted(_FAMILIES))}. "
                "For another one write a module with load() and give its dotted name"
            )

        def build(folder: Path) -> tuple[Checkpoint, dict[str, Tower], tuple[str, ...]]:
            checkpoint = _open(folder, place, pooling=pooling)
            return checkpoint, *_FAMILIES[kind](checkpoint, frames)

        checkpoint, towers, parts = _hub.load(model, build)
    revision = _fingerprint.of_state(checkpoint.network.state_dict(), "transformers 1", _hub.stable(config), *parts)
    return Towers(Space(f"transformers/{name}", _width(towers), "cosine", revision), towers)


def _width(towers: Mapping[str, Tower]) -> int:
    if text := towers.get("text"):
        return text.features(["a"]).shape[1]
    image = towers["image"]
    return image.features([image.reader(np.zeros((64, 64, 3), np.uint8))]).shape[1]
