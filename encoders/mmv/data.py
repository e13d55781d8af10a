"""The training clips of MMV with frames, sound and texts, and batches of them.

Alayrac et al. 2020, arXiv:2006.16228: a batch mixes clips with and without text, each clip with the narrations nearest
in time as candidates.
Shapes: B clips, T frames, H rows, W columns or words, N samples, K candidates, F features, n clips in all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from quiver.encoders._train import extract
from quiver.encoders.mmv.augment import DRAWN, Jitter, apply, centre, change_audio, draw
from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.mel import logmel
from quiver.encoders.mmv.store import Disk, Live, Media, Raw, Window
from quiver.encoders.mmv.word import Tokeniser
from quiver.errors import BadData
from quiver.task import Task
from quiver.types import Floats, Item, Rows

#: Columns of an item that name where it was cut from: what shares a value is no negative of each other.
GROUPS = ("film", "source_id", "group", "video")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip.

    Attributes:
        id: of its item.
        video: reference; None where there is none.
        audio: reference; the video itself where its sound is its own.
        texts: what is said of it, the nearest first.
        group: where it was cut from; empty where that is not known.
    """

    id: str
    video: str | None
    audio: str
    texts: tuple[str, ...]
    group: str


def gather(task: Task, *, key: str = "video") -> list[Clip]:
    """Return the clips of a task: its items with video, or with sound for a model that sees nothing.

    A clip's texts are its own and those of the questions it answers, in order of grade, of equal grades in that of the
    questions.
    """
    said: dict[str, list[tuple[int, int, str]]] = {}
    for number, question in enumerate(task.questions):
        if set(question.query.media) == {"text"}:
            for id, grade in question.relevant.items():
                said.setdefault(id, []).append((-grade, number, question.query.media["text"]))
    return [_clip(item, said.get(item.id, [])) for item in task.items if key in item.media]


def _clip(item: Item, said: Sequence[tuple[int, int, str]]) -> Clip:
    own = (item.media["text"],) if "text" in item.media else ()
    texts = tuple(dict.fromkeys([*own, *(text for _, _, text in sorted(said))]))
    group = next((f"{name} {item.meta[name]}" for name in GROUPS if item.meta.get(name)), "")
    video = item.media.get("video")
    return Clip(item.id, video, item.media.get("audio") or str(video), texts, group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How clips are served.

    Attributes:
        candidates: K, texts of a clip; of more, so many are drawn in training, and the nearest taken otherwise.
        span: seconds kept of each clip, of which training takes any part; None for as much as a clip has.
        cache: ``disk`` decodes all clips once, ``none`` each time they are asked for.
        jitter: how much clips are changed in training.
        later: batches hold stored frames as they are, a byte a value, and what was drawn; ``seen`` then changes them,
            on a GPU.
    """

    candidates: int = 5
    span: float | None = None
    cache: Literal["disk", "none"] = "disk"
    jitter: Jitter = field(default_factory=Jitter)
    later: bool = False


class Store(Protocol):
    """The source of frames and samples."""

    seen: NDArray[np.bool_]
    heard: NDArray[np.bool_]

    def read(self, rows: Rows, rng: Generator | None) -> Raw:
        """Return clips, parts drawn where they are longer, or their middles without ``rng``."""
        ...


class Clips:
    """Clips that have something to learn from: a video that can be read, and sound or text beside it.

    For a model without video they have both sound and text.

    Attributes:
        ids: of the n clips.
        config: of the model they are for.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        config: Config,
        serving: Serving,
        *,
        store: Store | None,
        features: Mapping[str, tuple[Floats, NDArray[np.bool_]]],
        said: "Said | None",
    ) -> None:
        self.config, self._serving, self._store, self._features, self._said = config, serving, store, features, said
        everything = np.ones(len(clips), bool)
        seen = everything
        if config.video is not None:
            seen = features["video"][1] if "video" in features else store.seen if store else everything
        self._heard = ~everything
        if config.audio is not None:
            self._heard = features["audio"][1] if "audio" in features else store.heard if store else ~everything
        told = said.counts > 0 if said else ~everything
        beside = self._heard & told if config.video is None else self._heard | told
        self._rows = np.flatnonzero(seen & beside)
        self.ids = [clips[row].id for row in self._rows.tolist()]
        names = [clip.group or f"itself {number}" for number, clip in enumerate(clips)]
        self._groups = np.unique(names, return_inverse=True)[1].astype(np.int64)

    @classmethod
    def of(cls, task: Task, config: Config, tokeniser: Tokeniser | None, *, folder: Path, serving: Serving) -> "Clips":
        """Read, or find in ``folder``, what a model needs of a task's clips.

        Args:
            task: its items are the clips, its questions what is said of them.
            config: what the model sees and hears.
            tokeniser: of the model's vocabulary, where it has one.
            folder: where what was decoded and extracted is kept, and the list of what could not be.
            serving: how clips are served.

        Raises:
            BadData: fewer than two clips are left.
        """
        clips = gather(task, key=leading(config))
        store = _store(clips, task, config, folder, serving)
        features = {key: _extracted(clips, config, key, folder) for key in ("video", "audio") if config.width(key)}
        said = _said(clips, config, tokeniser, folder)
        held = cls(clips, config, serving, store=store, features=features, said=said)
        if len(held) < 2:
            raise BadData(
                f"{task.name}: {len(held)} of {len(task.items)} items can be learnt from: each needs {leading(config)} "
                f"that can be read, and something beside it; see {folder}/quarantine.jsonl for what cannot"
            )
        return held

    def __len__(self) -> int:
        return len(self._rows)

    def describe(self) -> str:
        """Describe the number of clips, and of those with sound and text."""
        told = (self._said.counts > 0)[self._rows].sum() if self._said else 0
        return f"{len(self):,} clips, {self._heard[self._rows].sum():,} with sound, {told:,} with text"

    def fetch(self, rows: Rows, rng: Generator | None) -> dict[str, Tensor]:
        """Return a batch.

        Args:
            rows: (B,) int64, of the n clips.
            rng: what is drawn from in training; None takes the middle of each clip and changes nothing.

        Returns:
            ``video`` (B, T, H, W, 3) float32 from 0 to 1 (or as ``Serving.later`` says), ``audio`` (B, N) float32
            samples, ``text`` (B, K, W) int64 word ids, or (B, F), (B, F) and (B, K, F) of a ``features`` tower;
            ``heard`` (B,) bool, ``told`` (B, K) bool and ``group`` (B,) int64 as ``contrast`` takes them. A modality
            that the model lacks is absent.
        """
        own = self._rows[rows]
        raw = self._store.read(own, rng) if self._store else None
        own = own if raw is None else raw.rows
        batch = {key: torch.from_numpy(values[own]) for key, (values, _) in self._features.items()}
        if raw is not None and raw.video is not None:
            batch |= self._seen(torch.from_numpy(raw.video), rng)
        if self.config.audio is not None:
            if "audio" not in batch:
                batch["audio"] = self._listened(raw, len(own), rng)
            batch["heard"] = torch.from_numpy(
                self._heard[own] if raw is None or "audio" in self._features else raw.heard
            )
        if self._said:
            batch["text"], batch["told"] = self._said.read(own, self._serving.candidates, rng)
        return {**batch, "group": torch.from_numpy(self._groups[own])}

    def batches(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Yield all clips in order, as they are."""
        for start in range(0, len(self), size):
            yield self.fetch(np.arange(start, min(start + size, len(self))), None)

    def _seen(self, video: Tensor, rng: Generator | None) -> dict[str, Tensor]:
        size, jitter = self.config.size, self._serving.jitter
        if rng is None:
            return {"video": centre(video, size)}
        drawn = draw(len(video), video.shape[2], size, jitter=jitter, rng=rng)
        return {"video": video, **drawn} if self._serving.later else {"video": apply(video, drawn, size)}

    def _listened(self, raw: Raw | None, count: int, rng: Generator | None) -> Tensor:
        if raw is None or raw.audio is None:
            return torch.zeros(count, round(self.config.seconds * self.config.rate))
        audio = torch.from_numpy(raw.audio)
        return audio if rng is None else change_audio(audio, jitter=self._serving.jitter, rng=rng)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """The texts of n clips.

    Attributes:
        rows: (n + 1,) int64: clip i has the places rows[i] to rows[i + 1].
        places: of texts, the nearest of a clip first.
        texts: (texts, W) int64 word ids, or (texts, F) float32 features.
    """

    rows: Rows
    places: Rows
    texts: NDArray[Any]

    @property
    def counts(self) -> Rows:
        """(n,) number of texts of each clip."""
        return np.diff(self.rows)

    def read(self, rows: Rows, candidates: int, rng: Generator | None) -> tuple[Tensor, Tensor]:
        """Return (B, K, ...) texts and (B, K) bool, which there are; the others are zeros."""
        texts = np.zeros((len(rows), candidates, self.texts.shape[1]), self.texts.dtype)
        told = np.zeros((len(rows), candidates), bool)
        for place, row in enumerate(rows.tolist()):
            own = self.places[self.rows[row] : self.rows[row + 1]]
            if rng is not None and len(own) > candidates:
                own = own[np.sort(rng.choice(len(own), candidates, replace=False))]
            own = own[:candidates]
            texts[place, : len(own)], told[place, : len(own)] = self.texts[own], True
        return torch.from_numpy(texts), torch.from_numpy(told)


def seen(batch: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Change the clips of a batch as was drawn for them, where that was left for later."""
    if "boxes" not in batch:
        return dict(batch)
    rest = {name: value for name, value in batch.items() if name not in DRAWN}
    return {**rest, "video": apply(batch["video"], batch, config.size)}


def hear(samples_BN: Tensor, config: Config) -> Tensor:
    """Turn samples into what the audio tower takes: (B, T, F, 1) log-mel, or themselves."""
    if config.audio == "yamnet" or config.width("audio"):
        return samples_BN
    return logmel(
        samples_BN,
        rate=config.rate,
        window=config.window,
        hop=config.hop,
        bands=config.bands,
        low=config.low,
        high=config.high,
        minmax=config.minmax,
    )[..., None]


def _store(clips: Sequence[Clip], task: Task, config: Config, folder: Path, serving: Serving) -> Store | None:
    """Return the source of frames and samples; None if both are features."""
    sight = config.video is not None and not config.width("video")
    sound = config.audio is not None and not config.width("audio")
    if not clips or not (sight or sound):
        return None
    seconds = config.frames / config.fps
    window = Window(
        frames=config.frames,
        fps=config.fps,
        side=config.shorter,
        rate=config.rate,
        seconds=config.seconds,
        span=max(serving.span or seconds, seconds),
    )
    media = [Media(clip.video if sight else None, clip.audio if sound else None) for clip in clips]
    if serving.cache == "none":
        return Live(media, window, folder)
    return Disk(media, window, folder, revision=task.revision)


def leading(config: Config) -> str:
    """Return what every clip of a model has."""
    return "audio" if config.video is None else "video"


def _extracted(clips: Sequence[Clip], config: Config, key: str, folder: Path) -> tuple[Floats, NDArray[np.bool_]]:
    spec = getattr(config, f"{key}_spec")
    rows, mask = extract(spec, key, [getattr(clip, key) for clip in clips], cache=folder)
    return _fitting(rows, config, key), mask


def _fitting(rows: Floats, config: Config, key: str) -> Floats:
    spec, width = getattr(config, f"{key}_spec"), rows.shape[1]
    if width != config.width(key):
        raise BadData(f"{spec} gives {width} values: write {key}=features:{width}")
    return rows


def _said(clips: Sequence[Clip], config: Config, tokeniser: Tokeniser | None, folder: Path) -> Said | None:
    """Number the texts; those without a known word are left out."""
    if config.text is None:
        return None
    unique = list(dict.fromkeys(text for clip in clips for text in clip.texts))
    values: NDArray[Any]
    if tokeniser is None:
        features, known = extract(config.text_spec or "", "text", unique, cache=folder)
        values = _fitting(features, config, "text")
    else:
        values = np.array([tokeniser.ids(text) for text in unique], np.int64).reshape(len(unique), config.max_words)
        known = values[:, 0] > 0
    number = {text: place for place, text in enumerate(unique) if known[place]}
    places = [[number[text] for text in clip.texts if text in number] for clip in clips]
    flat = np.fromiter((place for own in places for place in own), np.int64)
    return Said(np.cumsum([0, *map(len, places)], dtype=np.int64), flat, values)
