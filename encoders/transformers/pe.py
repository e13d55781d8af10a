"""Perception Encoder Audiovisual (PE-AV): texts, sounds, videos and pictures.

A text has one vector for finding sounds and another for finding videos, from two heads of the model. Sounds and videos
are trained against each other too. So there are three spaces: ``NAME/audio`` of texts and sounds, ``NAME/video`` of
texts, videos and pictures, and ``NAME/both``, which sounds and videos reach over a bridge that changes nothing. A
picture is a video of one frame. PE-Audio and PE-Video have one space.

Sounds longer than the model takes are the mean of windows. Vectors are those of the library's ``forward``; its
``get_text_audio_embeds`` and ``get_video_embeds`` fail in version 5.24.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.encoders._pool import unit
from quiver.encoders._tower import Features, Tower, averaged
from quiver.encoders.transformers.checkpoint import Checkpoint, part
from quiver.encoders.transformers.clips import frames_of
from quiver.encoders.transformers.contrastive import cut, features_of
from quiver.encoders.transformers.word import words
from quiver.errors import BadSpec, SpaceMismatch
from quiver.media import AudioReader, TextReader, VideoReader
from quiver.protocols import Bridge, Reader
from quiver.types import KEYS, Floats, Space

#: Models of one space, and of three.
ONE, THREE = ("pe_audio", "pe_video"), ("pe_audio_video",)
#: Frames of a video where the checkpoint does not say.
FRAMES = 16
#: Videos that go through a network together.
AT_ONCE = 4


def towers(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Return the towers of PE-Audio or PE-Video and the description of their preprocessing."""
    _check(checkpoint)
    side = _audio if checkpoint.kind == "pe_audio" else _video
    return side(checkpoint, checkpoint.network)


def both(checkpoint: Checkpoint, name: str, revision: Callable[..., str], dim: Callable[..., int]) -> "Several":
    """Make an encoder of PE-AV.

    Args:
        checkpoint: the model.
        name: display name, the first part of those of the spaces.
        revision: hashes the weights and the given parts.
        dim: tells the dimension of some towers.
    """
    _check(checkpoint)
    heard, how_heard = _audio(checkpoint, checkpoint.network.audio_model)
    seen, how_seen = _video(checkpoint, checkpoint.network.video_model)
    parts = (*how_heard, *how_seen)
    spaces = {side: Space(f"{name}/{side}", dim(heard), "cosine", revision(side, *parts)) for side in _SIDES}
    every = {(key, spaces["audio"]): tower for key, tower in heard.items()}
    every |= {(key, spaces["video"]): tower for key, tower in seen.items()}
    bridges = tuple(Same(spaces[side], spaces["both"]) for side in ("audio", "video"))
    return Several(every, bridges, checkpoint.wishes.at_once)


_SIDES = ("audio", "video", "both")


def _check(checkpoint: Checkpoint) -> None:
    if checkpoint.pooling != "auto":
        raise BadSpec(f"a {checkpoint.kind} model pools as it was trained to: leave out pooling")
    if checkpoint.kind == "pe_audio" and checkpoint.wishes.frames is not None:
        raise BadSpec("a PE-Audio model takes no video: leave out frames")


def _text(checkpoint: Checkpoint, head: Any, text_model: Any) -> tuple[Tower, str]:
    tokens = words(checkpoint, text_model.forward)

    def call(**inputs: Any) -> Any:
        return head(text_model(**inputs, output_hidden_states=True).hidden_states[-1][:, 0])

    return Tower(TextReader(), features_of(checkpoint, call, tokens)), str(tokens)


def _audio(checkpoint: Checkpoint, network: Any) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Return the towers of texts and sounds; sounds go one by one, since padding would change them."""
    from transformers import AutoFeatureExtractor

    folder = checkpoint.folder
    extractor: Any = part(
        "feature extractor", folder, lambda: AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    )

    def samples(batch: Sequence[Any]) -> dict[str, Any]:
        found = extractor(list(batch), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        return {"input_values": found["input_values"].to(checkpoint.place)}

    def call(input_values: Any) -> Any:
        return network.audio_head(network.audio_encoder(input_values=input_values).pooler_output)

    alone = averaged(features_of(checkpoint, call, samples, at_once=1), at_once=1)
    # One place of the sequence is that of the token for the whole sound.
    longest = (int(network.audio_encoder.config.max_position_embeddings) - 1) * int(extractor.hop_length)

    def features(batch: Sequence[Any]) -> Floats:
        return alone([cut(sound, longest) for sound in batch])

    text, tokens = _text(checkpoint, network.text_audio_head, network.text_model)
    audio = Tower(AudioReader(rate=extractor.sampling_rate), features)
    return {"text": text, "audio": audio}, (tokens, extractor.to_json_string())


def _video(checkpoint: Checkpoint, network: Any) -> tuple[dict[str, Tower], tuple[str, ...]]:
    frames = frames_of(checkpoint.folder)
    count = checkpoint.wishes.frames or frames.count or FRAMES

    def pixels(batch: Sequence[Any]) -> dict[str, Any]:
        found = frames.inputs(batch)
        return {"pixel_values_videos": found["pixel_values_videos"].to(checkpoint.place)}

    def call(pixel_values_videos: Any) -> Any:
        return network.video_head(network.video_encoder(pixel_values_videos=pixel_values_videos).pooler_output)

    features = features_of(checkpoint, call, pixels, at_once=AT_ONCE)
    text, tokens = _text(checkpoint, network.text_video_head, network.text_model)
    video = Tower(VideoReader(count, image=frames.reader), _by_length(features))
    image = Tower(frames.reader, lambda batch: features([picture[None] for picture in batch]))
    return {"text": text, "image": image, "video": video}, (tokens, frames.settings, f"{count} frames")


def _by_length(features: Features) -> Features:
    """Keep videos of unlike numbers of frames apart: padding would be seen."""

    def grouped(batch: Sequence[Any]) -> Floats:
        lengths = np.array([len(video) for video in batch])
        rows: dict[int, Floats] = {}
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length).tolist()
            rows |= dict(zip(places, features([batch[n] for n in places]), strict=True))
        return np.stack([rows[n] for n in range(len(batch))])

    return grouped


@dataclass(frozen=True, slots=True)
class Same:
    """A bridge between two names of one space."""

    source: Space
    target: Space

    def map(self, vectors: Floats) -> Floats:
        """Return (n, dim) vectors as they are."""
        return vectors


@dataclass(frozen=True, slots=True)
class Several:
    """An encoder whose keys end in several cosine spaces.

    Attributes:
        towers: by key and space.
        bridges: between the spaces.
        at_once: see ``Towers``.
    """

    towers: Mapping[tuple[str, Space], Tower]
    bridges: tuple[Bridge, ...]
    at_once: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds, in the order of KEYS."""
        known = {key for key, _ in self.towers}
        return tuple(key for key in KEYS if key in known)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces of a key, or () for a foreign key."""
        return tuple(space for known, space in self.towers if known == key)

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key."""
        return self.towers[key, self._first(key)].reader

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as (n, dim) float32 rows of length 1.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
        """
        first = self._first(key)
        if (key, space) not in self.towers:
            raise SpaceMismatch(f"{first} does not embed {key} into {space}")
        return unit(self.towers[key, space].features(batch)) if len(batch) else np.empty((0, space.dim), np.float32)

    def _first(self, key: str) -> Space:
        found = self.spaces(key)
        if not found:
            raise BadSpec(f"this encoder embeds {', '.join(self.keys)}, not {key}")
        return found[0]
