"""Models of Hugging Face transformers: ``transformers model=google/siglip2-base-patch16-224`` or ``model=FOLDER``.

    text + image + video   CLIP and its kin, SigLIP, SigLIP 2   a video is the mean of its frames' unit vectors
    text + audio           CLAP                                 long audio is the mean of windows of ten seconds
    text + video           X-CLIP                               its own video tower, over its own number of frames
    all of these           PE-AV: ``transformers model=facebook/pe-av-large``
    image + video          DINOv2, DINOv3, ViT, Swin, ...
    video                  VideoMAE, V-JEPA 2                       the mean of their patches
    text                   BERT, RoBERTa, MPNet, XLM-R, Qwen3, ...   masked mean, first or last token
    captions               BLIP, BLIP-2, Florence-2, Qwen3-VL, ...   embed nothing: ``quiver caption``, ``add --teller``

Library: github.com/huggingface/transformers, Apache-2.0. Code that comes with a model is never run. Weights are
complete: a checkpoint that lacks some of those used is refused, since the library would fill them with random numbers.
Texts longer than a model's context are cut.

X-CLIP's text vectors are those before its video-conditioned prompting, which no index can hold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub
from quiver.encoders._custom_code import Code
from quiver.encoders._precision import Precision
from quiver.encoders._tower import Tower, Towers, check_dim, check_sizes, shape_parts
from quiver.encoders.transformers import clips, pe
from quiver.encoders.transformers.caption import Wanted, captioner, captions
from quiver.encoders.transformers.checkpoint import Pooling, Wishes, settings
from quiver.encoders.transformers.checkpoint import open as _open
from quiver.encoders.transformers.contrastive import AUDIO, IMAGE, VIDEO
from quiver.encoders.transformers.contrastive import towers as _contrastive
from quiver.encoders.transformers.single import TEXT, VISION
from quiver.encoders.transformers.single import towers as _single
from quiver.errors import BadSpec, optional
from quiver.protocols import Encoder
from quiver.types import Space

if TYPE_CHECKING:
    import torch

_FAMILIES = {
    **dict.fromkeys(IMAGE + AUDIO + VIDEO, _contrastive),
    **dict.fromkeys([*VISION, *TEXT], _single),
    **dict.fromkeys(clips.VIDEO, clips.towers),
    **dict.fromkeys(pe.ONE, pe.towers),
}


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    model: str,
    pooling: Pooling = "auto",
    frames: int | None = None,
    device: str = "auto",
    prompt: str | None = None,
    tokens: int | None = None,
    precision: Precision | None = None,
    batch: int | None = None,
    dim: int | None = None,
    at_once: int | None = None,
    revision: str | None = None,
) -> Encoder:
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
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``, that of the checkpoint. None for fp32, and for a captioner
            for auto.
        batch: of a captioner: another name of ``at_once``.
        dim: leading numbers of a vector to keep, of a model that was trained for it (Matryoshka); None for all.
        at_once: inputs that go through the network together; None for 64, and for a captioner for 8.
        revision: commit of the repository to load, 40 hexadecimal digits; None for the newest.

    Raises:
        BadSpec: a model of a kind that is not supported, or an option that does not fit it.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import transformers  # noqa: F401
    place = _device.pick(device)
    check_sizes(dim, at_once)
    code = Code.of(model, False, revision)
    with _hub.quiet():
        config = _hub.load(model, settings, weights=False, code=code)
        kind = str(config.get("model_type"))
        name = Path(model).expanduser().resolve().name if code.is_folder else model
        if kind not in _FAMILIES and kind not in pe.THREE and captions(kind):
            if odd := [option for option, value in (("pooling", pooling != "auto"), ("dim", dim)) if value]:
                raise BadSpec(f"a {kind} model describes pictures and gives no vectors: leave out {odd[0]}")
            size = batch if at_once is None else at_once
            told = 40 if tokens is None else tokens
            wanted = Wanted(prompt, told, precision or "auto", 8 if size is None else size, frames)
            return captioner(model, f"transformers/{name}", wanted, place, code)
        given = {"prompt": prompt, "tokens": tokens, "batch": batch}
        if odd := [option for option, value in given.items() if value is not None]:
            raise BadSpec(f"a {kind} model writes no captions: leave out {odd[0]}")
        if kind not in _FAMILIES and kind not in pe.THREE:
            raise BadSpec(_unsupported(model, kind))
        wishes = Wishes(pooling, frames, dim, precision or "fp32", at_once)
        return _encoder(code, config, wishes, place, f"transformers/{name}")


def _encoder(code: Code, config: Mapping[str, Any], wishes: Wishes, place: "torch.device", name: str) -> Encoder:
    """Load a model that embeds."""
    kind = config["model_type"]

    def build(folder: Path) -> Encoder:
        checkpoint = _open(folder, place, wishes)

        def revision(*parts: str) -> str:
            kept = (_hub.stable(config), *parts, *shape_parts(wishes.dim))
            return _fingerprint.of_state(checkpoint.network.state_dict(), "transformers 1", *kept)

        def width(towers: Mapping[str, Tower]) -> int:
            found = _width(towers)
            check_dim(wishes.dim, found)
            return found

        if kind in pe.THREE:
            return pe.both(checkpoint, name, revision, width)
        towers, parts = _FAMILIES[kind](checkpoint)
        return Towers(Space(name, width(towers), "cosine", revision(*parts)), towers, at_once=wishes.at_once)

    return _hub.load(code.model, build, code=code)


def _unsupported(model: str, kind: str) -> str:
    if kind.startswith(("colpali", "colqwen", "colmodernvbert")):
        return f"transformers model={model} gives many vectors of an item: use 'multi_vector model={model}'"
    known = ", ".join(sorted([*_FAMILIES, *pe.THREE]))
    return (
        f"transformers model={model} is of type {kind!r}; supported are captioners, chat models and {known}."
        f" For another text or multimodal embedder try 'sentence_transformers model={model}'; else write a module with"
        " load() and give its dotted name"
    )


def _width(towers: Mapping[str, Tower]) -> int:
    if text := towers.get("text"):
        return text.features(["a"]).shape[1]
    black = np.zeros((64, 64, 3), np.uint8)
    if image := towers.get("image"):
        return image.features([image.reader(black)]).shape[1]
    video = towers["video"]
    return video.features([video.reader(black[None])]).shape[1]
