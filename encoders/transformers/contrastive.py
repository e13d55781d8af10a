"""Models with two towers trained against each other: text with images, audio or video."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quiver.encoders._precision import cast
from quiver.encoders._tower import Features, Tower, averaged, in_batches
from quiver.encoders.transformers.checkpoint import Checkpoint, part
from quiver.encoders.transformers.pixel import Eyes, eyes
from quiver.encoders.transformers.word import words
from quiver.errors import BadSpec
from quiver.media import AudioReader, TextReader, VideoReader
from quiver.types import Floats

IMAGE = ("align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip", "siglip2")
AUDIO = ("clap",)
VIDEO = ("xclip",)
#: Frames, or windows of audio, that go through a network together.
AT_ONCE = 64


def towers(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Return the towers of a checkpoint and the description of their preprocessing."""
    if checkpoint.pooling != "auto":
        raise BadSpec(f"a {checkpoint.kind} model pools as it was trained to: leave out pooling")
    network = checkpoint.network
    tokens = words(checkpoint, network.get_text_features, fixed=checkpoint.kind.startswith("siglip"))
    text = Tower(TextReader(), features_of(checkpoint, network.get_text_features, tokens))
    other = _other(checkpoint.kind)(checkpoint)
    return {"text": text, **other[0]}, (str(tokens), *other[1])


def _other(kind: str) -> Callable[[Checkpoint], tuple[dict[str, Tower], tuple[str, ...]]]:
    return _audio if kind in AUDIO else _video if kind in VIDEO else _image


def pooled(output: Any) -> Any:
    """Extract the (n, dim) vectors from a network's output; an output without vectors is an error."""
    return output if hasattr(output, "shape") else output.pooler_output


def features_of(
    checkpoint: Checkpoint,
    call: Callable[..., Any],
    inputs: Callable[[Sequence[Any]], dict[str, Any]],
    *,
    at_once: int = AT_ONCE,
) -> Features:
    """Return the features of one key.

    Args:
        checkpoint: the model.
        call: the method of its network that gives vectors.
        inputs: turns n outputs of a reader into the arguments of ``call``.
        at_once: inputs that go through the network together, if the user did not say.
    """
    import torch

    @torch.inference_mode()
    def features(batch: Sequence[Any]) -> Floats:
        return checkpoint.rows(pooled(call(**cast(inputs(batch), checkpoint.dtype))))

    return in_batches(features, checkpoint.at_once(at_once))


def _image(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    seen = eyes(checkpoint.folder, checkpoint.place)
    features = features_of(checkpoint, checkpoint.network.get_image_features, seen.inputs)
    return seen_towers(checkpoint, seen, features)


def seen_towers(checkpoint: Checkpoint, seen: Eyes, features: Features) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Make the image tower and, of its frames, the video tower."""
    frames = checkpoint.wishes.frames or 8
    video = VideoReader(frames=frames, image=seen.reader)
    return {
        "image": Tower(seen.reader, features),
        "video": Tower(video, averaged(features, at_once=checkpoint.at_once(AT_ONCE))),
    }, (seen.settings, f"{frames} frames")


def _video(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """X-CLIP: a transformer over its own number of frames."""
    seen, count = eyes(checkpoint.folder, checkpoint.place), checkpoint.config.vision_config.num_frames
    if (frames := checkpoint.wishes.frames) not in (None, count):
        raise BadSpec(f"this X-CLIP model was made for {count} frames, not {frames}")

    def clips(batch: Sequence[Any]) -> dict[str, Any]:
        pixels = seen.inputs([frame for clip in batch for frame in clip])["pixel_values"]
        return {"pixel_values": pixels.unflatten(0, (len(batch), count))}

    few = max(1, AT_ONCE // count)
    features = features_of(checkpoint, checkpoint.network.get_video_features, clips, at_once=few)
    return {"video": Tower(VideoReader(frames=count, image=seen.reader), features)}, (seen.settings,)


def _audio(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """CLAP: the mean over windows of its own length, where the library takes one window at random."""
    import torch
    from transformers import AutoFeatureExtractor

    if checkpoint.wishes.frames is not None:
        raise BadSpec("a CLAP model takes no video: leave out frames")
    folder = checkpoint.folder
    extractor = part(
        "feature extractor", folder, lambda: AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    )

    def mel(batch: Sequence[Any]) -> dict[str, Any]:
        found = extractor(list(batch), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        spectra = found["input_features"].float().to(checkpoint.place)
        # With fusion the library marks one short sound of a batch, at random, as a long one.
        return {"input_features": spectra, "is_longer": torch.zeros(len(batch), 1, dtype=torch.bool)}

    heard = features_of(checkpoint, checkpoint.network.get_audio_features, mel)
    windows = averaged(heard, at_once=checkpoint.at_once(AT_ONCE // 4))

    def features(batch: Sequence[Any]) -> Floats:
        return windows([cut(sound, int(extractor.nb_max_samples)) for sound in batch])

    reader = AudioReader(rate=extractor.sampling_rate)
    return {"audio": Tower(reader, features)}, (extractor.to_json_string(),)


def cut(sound: Any, length: int) -> list[Any]:
    """Cut (samples,) into the fewest windows of ``length`` that cover it, evenly spread; a short one stays whole.

    >>> [window.tolist() for window in cut(np.arange(5), 2)]
    [[0, 1], [1, 2], [3, 4]]
    """
    count = -(-len(sound) // length)
    if count <= 1:
        return [sound]
    starts = np.linspace(0, len(sound) - length, count).astype(int)
    return [sound[start : start + length] for start in starts]
