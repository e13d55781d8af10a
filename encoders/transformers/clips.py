"""Frames of a video as a video processor of the library wants them, and backbones that take nothing else.

VideoMAE and V-JEPA 2 give a vector for each patch of space and time; ``pooling=mean`` averages them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quiver.encoders._tower import Tower
from quiver.encoders.transformers.checkpoint import Checkpoint, part
from quiver.encoders.transformers.contrastive import features_of
from quiver.encoders.transformers.pixel import FILTERS, eyes
from quiver.errors import BadSpec
from quiver.media import ImageReader, VideoReader

#: Backbones of videos, with the setting that says how many frames they were made for.
VIDEO = {"videomae": "num_frames", "vjepa2": "frames_per_clip"}
#: Videos that go through a network together.
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Frames:
    """How a model sees the frames of a video.

    Attributes:
        reader: resizes a frame in a worker, by Pillow's filter of the same name as the processor's.
        inputs: turns n videos of (T, H, W, 3) frames of the reader into ``pixel_values_videos``.
        settings: all of it, written down.
        count: frames of a video that the processor samples; None if it does not say.
    """

    reader: ImageReader
    inputs: Callable[[Sequence[Any]], dict[str, Any]]
    settings: str
    count: int | None


def frames_of(folder: Path) -> Frames:
    """Load the video processor of a checkpoint.

    Raises:
        BadSpec: it resizes in a way that no reader does.
        FileNotFoundError: there is none.
    """
    from transformers import AutoVideoProcessor

    processor: Any = part(
        "video processor", folder, lambda: AutoVideoProcessor.from_pretrained(folder, trust_remote_code=False)
    )

    def inputs(batch: Sequence[Any]) -> dict[str, Any]:
        found = processor(
            videos=[list(video) for video in batch],
            do_resize=False,
            do_sample_frames=False,
            input_data_format="channels_last",
            return_tensors="pt",
        )
        return dict(found)

    return Frames(_reader(processor), inputs, processor.to_json_string(), getattr(processor, "num_frames", None))


def _reader(processor: Any) -> ImageReader:
    """Return the reader that resizes as a video processor does."""
    size, resample = processor.size, FILTERS.get(int(processor.resample))
    if resample is None:
        raise BadSpec(f"{type(processor).__name__} resizes by the filter {processor.resample}, which is not supported")
    if size.get("height") and size.get("width"):
        return ImageReader((size["height"], size["width"]), fit="squash", resample=resample)
    if size.get("shortest_edge") and processor.do_center_crop:
        return ImageReader(shorter=size["shortest_edge"], resample=resample)
    raise BadSpec(f"{type(processor).__name__} resizes to {dict(size)} without a crop, which is not supported")


def towers(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Return the tower of a backbone of videos and the description of its preprocessing."""
    made_for = int(getattr(checkpoint.config, VIDEO[checkpoint.kind]))
    count = checkpoint.wishes.frames or made_for
    if checkpoint.kind == "videomae" and count != made_for:
        raise BadSpec(f"this VideoMAE model was made for {made_for} frames, not {count}")
    if count % (tubelet := int(checkpoint.config.tubelet_size)):
        raise BadSpec(f"a {checkpoint.kind} model takes frames by {tubelet}: frames must be a multiple of {tubelet}")
    if checkpoint.pooling not in ("auto", "mean"):
        raise BadSpec(f"a {checkpoint.kind} model has no token for a whole video: pooling must be mean")
    network = checkpoint.network
    if checkpoint.kind == "videomae":
        seen = eyes(checkpoint.folder, checkpoint.place)
        reader, settings = seen.reader, seen.settings

        def inputs(batch: Sequence[Any]) -> dict[str, Any]:
            pixels = seen.inputs([frame for video in batch for frame in video])["pixel_values"]
            return {"pixel_values": pixels.unflatten(0, (len(batch), count))}

        def call(pixel_values: Any) -> Any:
            return network(pixel_values=pixel_values).last_hidden_state.mean(1)
    else:
        frames = frames_of(checkpoint.folder)
        reader, settings = frames.reader, frames.settings

        def inputs(batch: Sequence[Any]) -> dict[str, Any]:
            found = frames.inputs(batch)["pixel_values_videos"]
            return {"pixel_values": found.to(checkpoint.place)}

        def call(pixel_values: Any) -> Any:
            return network.get_vision_features(pixel_values).mean(1)

    video = Tower(VideoReader(count, image=reader), features_of(checkpoint, call, inputs, at_once=AT_ONCE))
    return {"video": video}, (settings, f"{count} frames")
