"""Any timm backbone: pictures and videos in one space.

``timm model=vit_small_patch14_dinov2.lvd142m`` takes weights from the Hub or its cache on disk;
``timm model=mobilenetv2_100 pad_type=same num_classes=1001 checkpoint=FILE mean=0.5 std=0.5`` takes a file.

Library: github.com/huggingface/pytorch-image-models, Apache-2.0. A vector is what the model's classifier would be
given: ``forward_head(forward_features(x), pre_logits=True)``. Pictures are resized, cropped and normalised as the
model's data configuration says, unless options say otherwise; a video is the mean of its frames' unit vectors.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub, _pixel
from quiver.encoders._tower import Tower, Towers, averaged, check_sizes, chunks
from quiver.errors import BadSpec, MissingWeights, optional
from quiver.media import ImageReader, VideoReader
from quiver.protocols import Encoder
from quiver.types import Floats, Space

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16"]
#: Pictures that go through the model together. On a CPU few: what passes between layers then stays in its cache
#: (MobileNetV2 at 224 pixels on 2 busy cores: by 4 to 16 about 1.5 times as fast as by 64).
AT_ONCE = {"cpu": 8, "cuda": 64}


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    model: str,
    checkpoint: Path | None = None,
    pretrained: bool = True,
    pad_type: str | None = None,
    num_classes: int | None = None,
    size: int | None = None,
    mean: str | None = None,
    std: str | None = None,
    frames: int = 8,
    device: str = "auto",
    precision: Precision = "fp32",
    at_once: int | None = None,
) -> Encoder:
    """Load a backbone.

    Args:
        model: a name of ``timm.list_models()``, with or without a tag, ``hf-hub:owner/name`` or
            ``local-dir:FOLDER`` (with ``config.json``).
        checkpoint: a file of weights (safetensors or a state dict), used instead of the Hub's.
        pretrained: fetch weights where there is no checkpoint; ``false`` leaves random ones, always the same.
        pad_type: ``same`` pads as TensorFlow does, in architectures that offer it.
        num_classes: rows of the checkpoint's classifier, where they are not the architecture's own number.
        size: side of the input in pixels, instead of the model's own.
        mean: of pixel values from 0 to 1: one number, or three as in ``0.485,0.456,0.406``.
        std: likewise; ``mean=0.5 std=0.5`` scales to the range from -1 to 1.
        frames: taken from a video, evenly spread.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of weights and sums; vectors are float32 whatever it is.
        at_once: pictures that go through the model together; None for 64 on a GPU and 8 on a CPU.

    Raises:
        BadSpec: no such model, or it does not take an option.
        MissingWeights: the weights are not on disk and cannot be downloaded, or do not fit the model.
    """
    place = _device.pick(device)
    check_sizes(None, at_once)
    settings = {"pad_type": pad_type, "num_classes": num_classes, "img_size": size}
    settings = {name: value for name, value in settings.items() if value is not None}
    network = _network(model, checkpoint, pretrained=pretrained, settings=settings)
    config = _config(network, size, mean, std)
    reader, eye = _reader(config), _eye(network, config, place, precision, at_once)
    dim = _width(eye, model)
    recipe = ("timm 1", _name(model), f"{pad_type}", str(config), f"{frames} frames")
    revision = _fingerprint.of_state(eye.network.state_dict(), *recipe)
    video = Tower(VideoReader(frames=frames, image=reader), averaged(eye, at_once=max(64, eye.at_once)))
    return Towers(
        Space(_name(model), dim, "cosine", revision), {"image": Tower(reader, eye), "video": video}, at_once=at_once
    )


@dataclass(frozen=True, slots=True)
class Config:
    """How a model wants its pictures.

    Attributes:
        size: side in pixels.
        crop: share of the picture's side that the centre crop keeps.
        mode: ``center`` keeps the aspect, ``squash`` does not, ``border`` keeps all of the picture.
        resample: ``bicubic`` or ``bilinear``.
        mean: of pixel values from 0 to 1, per channel.
        std: likewise.
    """

    size: int
    crop: float
    mode: str
    resample: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """A model on its device, from pictures to features.

    Attributes:
        network: a timm model in eval mode, channels last.
        size: side of its input in pixels.
        mean: (3, 1, 1) float32 in 0 to 255, on the model's device.
        std: likewise.
        at_once: pictures that go through the model together.
    """

    network: Any
    size: int
    mean: "torch.Tensor"
    std: "torch.Tensor"
    at_once: int

    def __call__(self, batch: Sequence[Any]) -> Floats:
        """Return (n, dim) float32 of n pictures (H, W, 3) uint8, of which the centre counts."""
        import torch

        with torch.inference_mode():
            rows = [self._features(chunk) for chunk in chunks(batch, self.at_once)]
        return np.concatenate(rows)

    def _features(self, batch: Sequence[Any]) -> Floats:
        import torch

        pictures = torch.from_numpy(np.stack([_centre(picture, self.size) for picture in batch]))
        # Seen as (n, 3, H, W) the bytes lie channels-last, as the network wants them; float() keeps that.
        pixels = pictures.to(self.mean.device).permute(0, 3, 1, 2).float().sub_(self.mean).div_(self.std)
        features = self.network.forward_features(pixels.to(next(self.network.parameters()).dtype))
        return self.network.forward_head(features, pre_logits=True).float().cpu().numpy()


def _network(model: str, checkpoint: Path | None, *, pretrained: bool, settings: Mapping[str, Any]) -> Any:
    with optional():
        import timm  # noqa: F401
    fetch = pretrained and checkpoint is None
    prefix, _, rest = model.partition(":")
    if prefix in {"hf-hub", "local-dir"}:
        network = _hub.load(
            rest,
            lambda folder: _create(f"local-dir:{folder}", settings, fetch=fetch),
            instead="give model=local-dir:FOLDER",
            weights=fetch,
        )
    else:
        network = _create(model, settings, fetch=fetch, file=_weights(model, fetch=fetch))
    if checkpoint is not None:
        _fill(network, checkpoint, model)
    return network


def _weights(model: str, *, fetch: bool) -> Path | None:
    """Check the name of an architecture and find the file of its weights; None where timm has to fetch it."""
    import timm

    name = model.partition(".")[0]
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        raise BadSpec(f"timm has no model {name!r}: did you mean {', '.join(near) or 'another library'}?")
    try:
        known = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{name}.*")) or "none with a tag"
        raise BadSpec(f"timm has no model {model!r}: there are {tags}") from error
    if not fetch:
        return None
    if known is None or not known.has_weights:
        raise MissingWeights(f"timm model={model} comes without weights: give checkpoint=FILE")
    if not known.hf_hub_id or known.custom_load == "hf":
        return None
    names = [known.hf_hub_filename] if known.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    return _hub.file(known.hf_hub_id, names, instead="give checkpoint=FILE")


def _create(model: str, settings: Mapping[str, Any], *, fetch: bool, file: Path | None = None) -> "torch.nn.Module":
    """Create a model, its random weights always the same and the caller's random numbers untouched."""
    import timm
    import torch

    # A file of the Hub is in timm's own format, whatever loader the original weights need.
    overlay = {"file": str(file), "custom_load": False} if file else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            return timm.create_model(model, pretrained=fetch, pretrained_cfg_overlay=overlay, **settings)
        except TypeError as error:
            refused = next((name for name in settings if f"'{name}'" in str(error)), None)
            if refused is None:
                raise
            if refused != "img_size":
                raise BadSpec(f"timm model={model} takes no {refused}") from error
        except OSError as error:
            raise MissingWeights(
                f"timm model={model}: its weights are not on disk and cannot be downloaded from here "
                f"({_hub.brief(error)}): give checkpoint=FILE"
            ) from error
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadSpec(f"timm model={model} cannot be built: {_hub.brief(error)}") from error
    # Convolutions take pictures of any size and do not want to be told.
    rest = {name: value for name, value in settings.items() if name != "img_size"}
    return _create(model, rest, fetch=fetch, file=file)


def _fill(network: "torch.nn.Module", checkpoint: Path, model: str) -> None:
    """Load a file of weights, every one of them, into a model."""
    from timm.models import load_state_dict

    if not checkpoint.is_file():
        raise MissingWeights(f"timm checkpoint={checkpoint}: there is no such file")
    try:
        given = load_state_dict(str(checkpoint), weights_only=True)
    except Exception as error:  # torch, safetensors and pickle each have errors of their own
        raise MissingWeights(f"timm checkpoint={checkpoint} cannot be read as weights: {_hub.brief(error)}") from error
    if wrong := _misfits(network.state_dict(), given):
        raise MissingWeights(f"timm checkpoint={checkpoint} does not fit model={model}: {wrong}")
    network.load_state_dict(given)


def _misfits(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Say in words which tensors are missing, unknown or of the wrong shape; an empty string if none is."""
    lacking, unknown = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    words = [f"it lacks {_few(lacking)}"] * bool(lacking) + [f"it has the unknown {_few(unknown)}"] * bool(unknown)
    if not words:
        shapes = {name: (tuple(given[name].shape), tuple(wanted[name].shape)) for name in wanted}
        words = [_few(f"{name} {own} for {due}" for name, (own, due) in shapes.items() if own != due)]
    return "; ".join(words)


def _few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more


def _config(network: "torch.nn.Module", size: int | None, mean: str | None, std: str | None) -> Config:
    from timm.data import resolve_model_data_config

    own = resolve_model_data_config(network)
    middle, spread = (",".join(map(str, own[name])) for name in ("mean", "std"))
    scale = _pixel.scale(mean or middle, std or spread)
    return Config(
        size=size or own["input_size"][-1],
        crop=own["crop_pct"],
        mode=own["crop_mode"],
        resample=own["interpolation"],
        mean=scale[0],
        std=scale[1],
    )


def _reader(config: Config) -> ImageReader:
    """Return what timm's evaluation transform does up to the last crop."""
    larger = math.floor(config.size / config.crop)
    if config.mode == "squash":  # the crop is left to the Eye
        return ImageReader(larger, fit="squash", resample=config.resample)
    if config.mode == "border":
        grey = round(255 * sum(config.mean) / 3)
        return ImageReader(config.size, fit="pad", resample=config.resample, fill=grey)
    return ImageReader(config.size, shorter=larger, resample=config.resample)


def _eye(
    network: "torch.nn.Module", config: Config, place: "torch.device", precision: Precision, at_once: int | None
) -> Eye:
    import torch

    network = network.eval().requires_grad_(False).to(place).to(memory_format=torch.channels_last)
    network = network.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])
    mean, std = (255 * torch.tensor(values)[:, None, None].to(place) for values in (config.mean, config.std))
    return Eye(network, config.size, mean, std, at_once or AT_ONCE[place.type])


def _width(eye: Eye, model: str) -> int:
    shape = eye([np.zeros((eye.size, eye.size, 3), np.uint8)]).shape
    if len(shape) != 2:
        raise BadSpec(f"timm model={model} gives {shape[1:]} for a picture, not one vector")
    return shape[1]


def _centre(picture: Any, size: int) -> Any:
    """Crop the centre, as torchvision's CenterCrop does; a picture of that size stays itself."""
    top, left = (round((side - size) / 2) for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def _name(model: str) -> str:
    prefix, _, rest = model.partition(":")
    return f"timm/{Path(rest).name if prefix in {'hf-hub', 'local-dir'} else model}"
