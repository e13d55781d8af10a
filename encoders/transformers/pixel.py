"""From pictures to pixel values.

Most processors resize, crop and normalise. For those, the first two happen in the reader, in workers, with the
Pillow filters the models were trained with, and the third here on the whole batch. The others get the picture whole.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quiver.encoders.transformers.checkpoint import part
from quiver.media import ImageReader

if TYPE_CHECKING:
    import torch

Filter = Literal["nearest", "lanczos", "bilinear", "bicubic"]
FILTERS: dict[int, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Processors that do the same in another order, to within rounding.
_ALIKE = {"DINOv3ViTImageProcessor", "VideoMAEImageProcessorPil"}


@dataclass(frozen=True, slots=True)
class Eyes:
    """How a model sees.

    Attributes:
        reader: decodes a picture in a worker.
        inputs: turns n pictures of the reader into the network's inputs, ``pixel_values`` (n, 3, height, width)
            float32 among them.
        settings: all of it, written down.
    """

    reader: ImageReader
    inputs: "Callable[[Sequence[Any]], dict[str, torch.Tensor]]"
    settings: str


def eyes(folder: Path, place: "torch.device") -> Eyes:
    """Load the image processor of a checkpoint.

    Args:
        folder: with ``preprocessor_config.json``.
        place: the device of the network.
    """
    from transformers import AutoImageProcessor

    processor = part(
        "image processor",
        folder,
        lambda: AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
    )
    settings = processor.to_json_string()
    reader = _reader(processor) if _plain(processor) else None
    if reader is None:
        return Eyes(ImageReader(), _whole(processor, place), settings)
    crop = processor.crop_size if processor.do_center_crop else None
    return Eyes(reader, _normalise(processor, crop, place), settings)


def _plain(processor: Any) -> bool:
    """Tell whether a processor does nothing but resize, crop and normalise."""
    from transformers.image_processing_backends import PilBackend

    steps = ("_preprocess", "resize", "center_crop", "rescale", "normalize")
    inherited = all(getattr(type(processor), step, None) is getattr(PilBackend, step) for step in steps)
    return (
        (inherited or type(processor).__name__ in _ALIKE)
        and bool(processor.do_resize and processor.do_rescale)
        and not getattr(processor, "do_pad", None)
        and abs(processor.rescale_factor * 255 - 1) < 1e-6
    )


def _reader(processor: Any) -> ImageReader | None:
    """Return the reader that resizes as the processor does; None where there is none."""
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    resample = FILTERS.get(int(processor.resample))
    if resample is None:
        return None
    if size.get("height") and size.get("width"):
        if crop and (crop["height"] > size["height"] or crop["width"] > size["width"]):
            return None
        return ImageReader((size["height"], size["width"]), fit="squash", resample=resample)
    # Without a crop pictures would come in many sizes; a larger crop pads with black.
    short = size.get("shortest_edge")
    if not short or size.get("longest_edge") or not crop or max(crop["height"], crop["width"]) > short:
        return None
    return ImageReader(shorter=short, resample=resample)


def _normalise(processor: Any, crop: Any, place: "torch.device") -> Any:
    import torch

    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    mean_CHW = torch.tensor(np.broadcast_to(mean, 3).copy(), dtype=torch.float32, device=place)[:, None, None]
    std_CHW = torch.tensor(np.broadcast_to(std, 3).copy(), dtype=torch.float32, device=place)[:, None, None]

    def inputs(batch: Sequence[Any]) -> dict[str, torch.Tensor]:
        pictures = [_centre(picture, crop) for picture in batch] if crop else list(batch)
        stack = torch.from_numpy(np.stack(pictures)).to(place).permute(0, 3, 1, 2).contiguous()
        return {"pixel_values": stack.float().div_(255).sub_(mean_CHW).div_(std_CHW)}

    return inputs


def _centre(picture: Any, crop: Any) -> Any:
    # The library rounds down where torchvision, and so our reader's own crop, rounds to even.
    top, left = (picture.shape[0] - crop["height"]) // 2, (picture.shape[1] - crop["width"]) // 2
    return picture[top : top + crop["height"], left : left + crop["width"]]


def _whole(processor: Any, place: "torch.device") -> Any:
    def inputs(batch: Sequence[Any]) -> "dict[str, torch.Tensor]":
        found = processor(images=list(batch), input_data_format="channels_last", return_tensors="pt")
        return {name: value.to(place) for name, value in found.items()}

    return inputs


def accepted(inputs: "dict[str, torch.Tensor]", call: Callable[..., Any]) -> "dict[str, torch.Tensor]":
    """Leave out inputs that a network does not take."""
    known = inspect.signature(call).parameters
    return {name: value for name, value in inputs.items() if name in known}
