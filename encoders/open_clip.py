"""Any OpenCLIP model: images, text and videos in one space.

``open_clip model=ViT-B-32 pretrained=laion2b_s34b_b79k``, ``open_clip model=ViT-B-32 checkpoint=FILE``,
``open_clip model=hf-hub:Marqo/marqo-fashionSigLIP`` or ``open_clip model=local-dir:FOLDER`` (a folder with
``open_clip_config.json``). Weights are asked for by name: random ones are never used.

Library: github.com/mlfoundations/open_clip, MIT. A picture is resized, cropped and normalised exactly as by the
library's own inference transform; a video is the mean of its frames' unit vectors. Texts longer than the model's
context (77 tokens for CLIP) are cut. Tags trained with QuickGELU get it, which the library only warns about.

Today's models: ``model=PE-Core-L-14-336 pretrained=meta``, ``model=MobileCLIP2-S4 pretrained=dfndr2b``,
``model=ViT-SO400M-16-SigLIP2-384 pretrained=webli``, ``model=ViT-H-14-worldwide pretrained=metaclip2_worldwide``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub, _tokens
from quiver.encoders._custom_code import Code
from quiver.encoders._tower import (
    Features,
    Tower,
    Towers,
    averaged,
    check_dim,
    check_sizes,
    in_batches,
    shape_parts,
)
from quiver.errors import BadSpec, MissingWeights, optional
from quiver.media import ImageReader, TextReader, VideoReader
from quiver.types import Floats, Space

if TYPE_CHECKING:
    import torch

Filter = Literal["bicubic", "bilinear"]
Precision = Literal["fp32", "bf16", "fp16"]
Pixels = Callable[[Sequence[Any]], "torch.Tensor"]
_ELSEWHERE = "the model is built with it; load it once with a network, or give model=local-dir:FOLDER"
#: Frames of all videos of a batch that go through the model together.
FRAMES_AT_ONCE = 64


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    model: str,
    pretrained: str | None = None,
    checkpoint: Path | None = None,
    precision: Precision = "fp32",
    frames: int = 8,
    device: str = "auto",
    dim: int | None = None,
    at_once: int | None = None,
    revision: str | None = None,
) -> Towers:
    """Load a model.

    Args:
        model: an architecture of ``open_clip.list_models()``, ``hf-hub:owner/name`` or ``local-dir:FOLDER``.
        pretrained: a tag of ``open_clip.list_pretrained()``, for an architecture.
        checkpoint: a file of weights (safetensors or a state dict), for an architecture.
        precision: of the weights and of the sums; vectors are float32 whatever it is.
        frames: taken from a video, evenly spread.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dim: leading numbers of a vector to keep, of a model that was trained for it (Matryoshka); None for all.
        at_once: texts, pictures or frames that go through the model together; None for 64.
        revision: commit of an ``hf-hub:`` repository, 40 hexadecimal digits; None for the newest.

    Raises:
        BadSpec: no such model or tag, or not exactly one of pretrained and checkpoint.
        MissingWeights: the weights are not on disk and cannot be downloaded, or do not fit the model.
    """
    with optional():
        import open_clip  # noqa: F401
    place = _device.pick(device)
    check_sizes(dim, at_once)
    with _hub.quiet():
        network, tokenizer, shape = _open(model, pretrained, checkpoint, precision, revision)
    network = network.eval().requires_grad_(False).to(place)
    settings = dict(network.visual.preprocess_cfg)
    reader, pixels = _eyes(settings, place)
    together = at_once or FRAMES_AT_ONCE
    image = in_batches(_image(network, pixels, precision, dim), together)
    towers = {
        "text": Tower(TextReader(), in_batches(_text(network, tokenizer, place, dim), together)),
        "image": Tower(reader, image),
        "video": Tower(VideoReader(frames=frames, image=reader), averaged(image, at_once=together)),
    }
    revised = _fingerprint.of_state(
        network.state_dict(),
        "open_clip 1",
        shape,
        json.dumps(settings, sort_keys=True),
        _words(tokenizer),
        f"{precision} {frames} frames",
        *shape_parts(dim),
    )
    width = towers["text"].features(["a"]).shape[1]
    check_dim(dim, width)
    name = Path(model.partition(":")[2]).name if model.startswith(("hf-hub:", "local-dir:")) else model
    return Towers(Space(f"open_clip/{name}", width, "cosine", revised), towers, at_once=at_once)


def network(*, model: str, pretrained: str | None = None, checkpoint: Path | None = None) -> tuple[Any, Any]:
    """Return a model of the library with its weights, in fp32 and eval mode, and its tokenizer: to train further.

    Args:
        model: as for ``load``.
        pretrained: likewise.
        checkpoint: likewise.

    Raises:
        BadSpec: no such model or tag, or not exactly one of pretrained and checkpoint.
        MissingWeights: the weights are not on disk and cannot be downloaded, or do not fit the model.
    """
    with optional():
        import open_clip  # noqa: F401
    with _hub.quiet():
        found, tokenizer, _ = _open(model, pretrained, checkpoint, "fp32")
    return found.eval(), tokenizer


def _open(
    model: str, pretrained: str | None, checkpoint: Path | None, precision: str, revision: str | None = None
) -> tuple[Any, Any, str]:
    prefix, _, rest = model.partition(":")
    if rest and prefix in {"hf-hub", "local-dir"}:
        if pretrained or checkpoint:
            raise BadSpec(f"model={model} brings its weights: leave out pretrained and checkpoint")
        code = Code.of(rest, False, revision)
        instead = "give model=local-dir:FOLDER"
        return _hub.load(rest, lambda folder: _folder(folder, precision), instead=instead, code=code)
    if revision is not None:
        raise BadSpec("revision is the commit of an hf-hub: repository; the weights of a tag are named by it")
    return _architecture(model, pretrained, checkpoint, precision)


def _folder(folder: Path, precision: str) -> tuple[Any, Any, str]:
    import open_clip

    name = f"local-dir:{folder}"
    needed = ("*.safetensors", "*.bin", "*.pth")
    if not (folder / "open_clip_config.json").is_file() or not any(any(folder.glob(n)) for n in needed):
        raise FileNotFoundError("the folder needs open_clip_config.json and weights")
    config = open_clip.get_model_config(name)
    network = _create(name, None, precision, text=_text_config(config))
    return network, open_clip.get_tokenizer(name), _hub.stable(config)


def _architecture(model: str, pretrained: str | None, checkpoint: Path | None, precision: str) -> tuple[Any, Any, str]:
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise BadSpec(f"open_clip has no model {model!r}: {_near(model, open_clip.list_models())}")
    tag: Mapping[str, Any] = {}
    if (pretrained is None) == (checkpoint is None):
        raise BadSpec(
            f"open_clip model={model} needs weights: give either pretrained=TAG "
            f"({', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'it has none'}) or checkpoint=FILE"
        )
    if pretrained is not None:
        tag = open_clip.get_pretrained_cfg(model, pretrained)
        if not tag:
            tags = open_clip.list_pretrained_tags_by_model(model)
            raise BadSpec(f"open_clip model={model} has no weights {pretrained!r}: {_near(pretrained, tags)}")
        weights = _weights(model, pretrained, tag["hf_hub"])
    elif checkpoint is not None and checkpoint.is_file():
        weights = checkpoint
    else:
        raise MissingWeights(f"open_clip checkpoint={checkpoint}: there is no such file")
    text = _text_config(config)
    tokens = text.get("hf_tokenizer_name")
    if tokens:
        _hub.load(tokens, _vocabulary, instead=_ELSEWHERE, weights=False)
    network = _create(model, weights, precision, text=text, tag=tag)
    tokenizer = open_clip.get_tokenizer(model, **({"local_files_only": True} if tokens else {}))
    return network, tokenizer, _hub.stable({**config, "quick_gelu": _quick(config, tag)})


def _create(
    name: str,
    weights: Path | None,
    precision: str,
    *,
    text: dict[str, Any],
    tag: Mapping[str, Any] | None = None,
) -> Any:
    """Create a model and load its weights, every one of them, into it."""
    import open_clip

    tag = tag or {}
    try:
        return open_clip.create_model(
            name,
            pretrained=str(weights) if weights else None,
            precision=precision,
            # What the tag was trained with; the size is the architecture's.
            force_quick_gelu=_quick({}, tag),
            force_preprocess_cfg={k: tag[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in tag},
            require_pretrained=True,
            text_cfg=text,
        )
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and pickle each have errors of their own
        raise MissingWeights(f"{weights or name} does not fit open_clip {name}: {_hub.brief(error)}") from error


def _quick(config: Mapping[str, Any], tag: Mapping[str, Any]) -> bool:
    return bool(config.get("quick_gelu") or tag.get("quick_gelu"))


def _weights(model: str, tag: str, place: str) -> Path:
    """Find the file of a tag, whose place is ``owner/name/`` or ``owner/name/file``."""
    repository, _, name = place.rpartition("/")
    names = [name] if name else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    if name.endswith((".bin", ".pth")):
        names.insert(0, f"{name[:-4]}.safetensors")
    try:
        return _hub.file(repository, names, instead="give checkpoint=FILE")
    except MissingWeights as error:
        raise MissingWeights(f"open_clip model={model} pretrained={tag}: {error}") from error.__cause__


def _text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's text settings; the shape of a borrowed text tower is read from a folder on disk."""
    text = dict(config["text_cfg"])
    if borrowed := text.get("hf_model_name"):
        shape = _hub.load(borrowed, _config, instead=_ELSEWHERE, weights=False)
        text |= {"hf_model_name": str(shape), "hf_model_pretrained": False}
    return text


def _config(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError("the folder needs config.json")
    return folder


def _vocabulary(folder: Path) -> Path:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # OSError: files are missing
    return folder


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names) or 'none'}"


def _words(tokenizer: Any) -> str:
    """Describe a tokenizer completely."""
    own = getattr(tokenizer, "tokenizer", None)  # a Hugging Face tokenizer within
    table = _tokens.fingerprint(own) if own is not None else str(tokenizer.vocab_size)
    mode = getattr(tokenizer, "tokenizer_mode", "")
    return f"{type(tokenizer).__name__} {tokenizer.context_length} {mode} {table}"


def _eyes(settings: Mapping[str, Any], place: "torch.device") -> tuple[ImageReader, Pixels]:
    """Return a reader, and what turns its pictures into normalised (n, 3, height, width) float32 there."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    resample: Filter = "bilinear" if settings["interpolation"] == "bilinear" else "bicubic"
    if settings["resize_mode"] == "squash":
        return ImageReader((height, width), fit="squash", resample=resample), _normalise(settings, place)
    if settings["resize_mode"] == "shortest" and height == width:
        return ImageReader(height, resample=resample), _normalise(settings, place)
    transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)

    def whole(batch: Sequence[Any]) -> "torch.Tensor":
        import torch
        from PIL import Image

        return torch.stack([transform(Image.fromarray(picture)) for picture in batch]).to(place)

    return ImageReader(), whole


def _normalise(settings: Mapping[str, Any], place: "torch.device") -> Pixels:
    import torch

    mean = torch.tensor(settings["mean"], dtype=torch.float32, device=place)[:, None, None]
    std = torch.tensor(settings["std"], dtype=torch.float32, device=place)[:, None, None]

    def pixels(batch: Sequence[Any]) -> torch.Tensor:
        stack = torch.from_numpy(np.stack(batch)).to(place).permute(0, 3, 1, 2).contiguous()
        return stack.float().div_(255).sub_(mean).div_(std)

    return pixels


def _image(network: Any, pixels: Pixels, precision: str, dim: int | None) -> Features:
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    @torch.inference_mode()
    def features(batch: Sequence[Any]) -> Floats:
        return network.encode_image(pixels(batch).to(dtype))[:, :dim].float().cpu().numpy()

    return features


def _text(network: Any, tokenizer: Any, place: "torch.device", dim: int | None) -> Features:
    import torch

    @torch.inference_mode()
    def features(batch: Sequence[str]) -> Floats:
        return network.encode_text(tokenizer(list(batch)).to(place))[:, :dim].float().cpu().numpy()

    return features
