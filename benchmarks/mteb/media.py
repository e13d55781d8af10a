"""Media of mteb's batches in a form that Quiver's readers take.

mteb gives texts as strings, pictures as PIL images, sounds as ``{"array", "sampling_rate"}`` and videos as frames
(T, C, H, W); with torchcodec, sounds and videos come as its decoders.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from quiver.errors import BadMedia, BadSpec, optional

#: mteb's modalities, which are also Quiver's keys.
MODALITIES = ("text", "image", "audio", "video")
#: Frames taken from a decoder of a video.
_FRAMES = 32


def given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the media of one row by key; what is missing or empty is left out."""
    found = {}
    for key in MODALITIES:
        value = row.get(key)
        if value is None or (key == "text" and not str(value).strip()):
            continue
        found[key] = _CONVERT[key](value)
    return found


def rows(batch: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the rows of a batch, which has one list by column."""
    names = [name for name in MODALITIES if name in batch]
    if not names:
        raise BadSpec(f"mteb's batch has none of {', '.join(MODALITIES)}: it has {', '.join(batch)}")
    for values in zip(*(batch[name] for name in names), strict=True):
        yield given(dict(zip(names, values, strict=True)))


def picture(value: Any) -> Any:
    """Return a picture as uint8 RGB (H, W, 3)."""
    if hasattr(value, "convert"):
        return np.asarray(value.convert("RGB"))
    array = _array(value)
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[-1] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)  # a tensor has its channels first
    return array if array.dtype == np.uint8 else (array * 255).round().clip(0, 255).astype(np.uint8)


def sound(value: Any) -> Any:
    """Return a sound as its own file, or as a WAV file in memory, which keeps its rate."""
    with optional():
        import soundfile
    if (file := stored(value)) is not None:
        return file
    if isinstance(value, Mapping) and "array" in value:
        samples, rate = _array(value["array"]), int(value["sampling_rate"])
    elif hasattr(value, "get_all_samples"):  # torchcodec's AudioDecoder
        read = value.get_all_samples()
        samples, rate = _array(read.data), int(read.sample_rate)
    else:
        raise BadMedia(f"a sound of mteb is an array with its sampling rate, not {type(value).__name__}")
    samples = samples.T if samples.ndim == 2 and samples.shape[0] < samples.shape[1] else samples
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def clip(value: Any) -> Any:
    """Return a video as frames (T, H, W, 3) uint8."""
    if (file := stored(value)) is not None:
        return file
    if isinstance(value, Mapping) and "frames" in value:
        value = value["frames"]
    if hasattr(value, "get_frames_at"):  # torchcodec's VideoDecoder
        count = len(value)
        value = value.get_frames_at(np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).round()).astype(int)).data
    frames = _array(value)
    if frames.ndim != 4:
        raise BadMedia(f"a video of mteb is a tensor of frames (T, C, H, W), not {frames.shape}")
    if frames.shape[1] in (1, 3) and frames.shape[-1] not in (1, 3):
        frames = frames.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(frames, np.uint8)


def stored(value: Any) -> Any:
    """Return the bytes or the path of a file that mteb has not decoded; None for decoded media."""
    if isinstance(value, bytes | str):
        return value
    if not isinstance(value, Mapping):
        return None
    return value["bytes"] if value.get("bytes") is not None else value.get("path")


def _array(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


_CONVERT: dict[str, Callable[[Any], Any]] = {"text": str, "image": picture, "audio": sound, "video": clip}
