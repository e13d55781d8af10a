"""Sources of training clips: decoded once and memory-mapped from disk, or decoded on demand.

Shapes: B clips, F frames stored, T frames of a clip, S side in pixels, M samples stored, L samples of a clip.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from quiver.encoders import _fingerprint
from quiver.encoders._train.damage import TRIES, Damage
from quiver.encoders._train.progress import Progress
from quiver.encoders._train.reading import attempt, decoders, identity, quarantine
from quiver.encoders._train.sharing import divided
from quiver.errors import BadData
from quiver.media import AudioReader, ImageReader, VideoReader, moment, times
from quiver.types import Floats, Rows

#: Clips per folder of the cache: what an interruption can cost.
BLOCK = 64
Reasons = dict[str, str]
Read = tuple[NDArray[np.uint8] | None, Floats | None, Reasons]


@dataclass(frozen=True, slots=True)
class Media:
    """References of one clip; None for a part that is not wanted or missing."""

    video: str | None
    audio: str | None

    @property
    def refs(self) -> tuple[str | None, str | None]:
        """Both references."""
        return self.video, self.audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How clips are read.

    Attributes:
        frames: T. fps: frames per second. side: S, of the centre square, in pixels.
        rate: of the sound (Hz). seconds: of sound; L is as many samples.
        span: seconds stored of each clip, at least those of a clip; with more, a clip is any part of it.
    """

    frames: int
    fps: float
    side: int
    rate: int
    seconds: float
    span: float

    @property
    def stored(self) -> int:
        """F."""
        return max(self.frames, round(self.span * self.fps))

    @property
    def samples(self) -> int:
        """L."""
        return round(self.seconds * self.rate)

    @property
    def track(self) -> int:
        """M: as much sound as frames are stored, and what a clip's sound is longer than its frames."""
        return self.samples + round((self.stored - self.frames) / self.fps * self.rate)

    def heard(self, frame: int) -> int:
        """Return the sample at which the sound of a clip begins whose first frame is this one."""
        return round(frame / self.fps * self.rate)


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Clips as they were read.

    Attributes:
        rows: (B,) int64, which clips these are.
        video: (B, T, S, S, 3) uint8, or None where frames are not wanted.
        audio: (B, L) float32 in [-1, 1], silent where there is no sound, or None.
        heard: (B,) bool, which have sound.
    """

    rows: Rows
    video: NDArray[np.uint8] | None
    audio: Floats | None
    heard: NDArray[np.bool_]


class Disk:
    """All clips decoded beforehand, as uint8 frames and 16-bit samples in files that are mapped into memory.

    A block of clips is one folder that appears whole or not at all, so that the same call goes on after an
    interruption; several ranks share the work. What cannot be decoded is left out, its reason in quarantine.jsonl.

    Attributes:
        seen: (n,) bool, clips whose frames could be read, if frames are wanted at all.
        heard: (n,) bool, clips with sound.
    """

    def __init__(self, media: Sequence[Media], window: Window, folder: Path, *, revision: str) -> None:
        self.window = window
        stamps = [f"{identity(each.video)} {identity(each.audio)}" for each in media]
        self.folder = folder / _fingerprint.of_parts("clips 1", revision, repr(window), *stamps)[:16]
        self._media = media
        self._sight, self._sound = (
            any(ref is not None for ref in column) for column in zip(*(each.refs for each in media), strict=True)
        )
        starts = range(0, len(media), BLOCK)
        fresh = set[int]()
        with Progress("decoding", len(media), unit="clips") as progress:

            def work(number: int) -> None:
                fresh.add(number)
                self._decode(number, progress)

            for number in divided(
                len(starts),
                done=lambda number: self._place(number).is_dir(),
                work=work,
                folder=self.folder / "locks",
            ):
                if number not in fresh:
                    progress.skip(len(media[starts[number] : starts[number] + BLOCK]))
        self._blocks = [self._open(number) for number in range(len(starts))]
        self.seen = np.concatenate([np.empty(0, bool), *(block["seen"] for block in self._blocks)])
        self.heard = np.concatenate([np.empty(0, bool), *(block["heard"] for block in self._blocks)])

    def read(self, rows: Rows, rng: Generator | None) -> Raw:
        """Return clips: parts drawn from what is stored, or its middles without ``rng``."""
        window = self.window
        spare = window.stored - window.frames
        starts = np.full(len(rows), spare // 2) if rng is None else rng.integers(0, spare + 1, len(rows))
        video, audio = [], []
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            block, place = self._blocks[row // BLOCK], row % BLOCK
            if self._sight:
                video.append(block["frames"][place, start : start + window.frames])
            if self._sound:
                first = window.heard(start)
                audio.append(block["samples"][place, first : first + window.samples])
        return Raw(
            rows,
            np.stack(video) if video else None,
            np.stack(audio).astype(np.float32) / np.float32(32768) if audio else None,
            self.heard[rows],
        )

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:06d}"

    def _decode(self, number: int, progress: Progress) -> None:
        """Decode one block."""
        place = self._place(number)
        media = self._media[number * BLOCK : (number + 1) * BLOCK]
        whole = replace(self.window, frames=self.window.stored, seconds=self.window.track / self.window.rate)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode") as pool:
            read = []
            for each in pool.map(lambda each: decode(each, whole), media):
                read.append(each)
                progress.update()
        part = place.with_name(f"{place.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, column in self._columns(read, whole).items():
            np.save(part / f"{name}.npy", column)
        lines = [(each, reasons) for each, (_, _, reasons) in zip(media, read, strict=True)]
        quarantine(self.folder.parent, _lines(lines))
        try:
            part.rename(place)
        except OSError:  # another rank was first
            shutil.rmtree(part)

    def _columns(self, read: Sequence[Read], window: Window) -> dict[str, NDArray[Any]]:
        """Stack what was read of a block, with zeros for what could not be."""
        columns: dict[str, NDArray[Any]] = {
            "seen": np.array([frames is not None or not self._sight for frames, _, _ in read]),
            "heard": np.array([samples is not None for _, samples, _ in read]),
        }
        if self._sight:
            columns["frames"] = np.zeros((len(read), window.frames, window.side, window.side, 3), np.uint8)
        if self._sound:
            columns["samples"] = np.zeros((len(read), window.samples), np.int16)
        for place, (frames, samples, _) in enumerate(read):
            if frames is not None:
                columns["frames"][place] = frames
            if samples is not None:
                columns["samples"][place] = np.clip(np.rint(samples * 32768), -32768, 32767)
        return columns

    def _open(self, number: int) -> dict[str, NDArray[Any]]:
        return {path.stem: np.load(path, mmap_mode="r") for path in self._place(number).glob("*.npy")}


class Live:
    """Clips decoded on demand, for collections that are too large to store decoded.

    A clip that cannot be decoded gives way to another one, drawn anew, and is noted once, with its reason.

    Attributes:
        seen: (n,) bool, all: it shows only when a clip is asked for.
        heard: likewise, clips with a reference of sound.
    """

    def __init__(self, media: Sequence[Media], window: Window, folder: Path) -> None:
        self.window = window
        self.seen = np.ones(len(media), bool)
        self.heard = np.array([each.audio is not None for each in media])
        self._media = media
        self._damage = {key: Damage(key, folder) for key in ("video", "audio")}

    def read(self, rows: Rows, rng: Generator | None) -> Raw:
        """Return clips, some of them perhaps others than those asked for.

        Raises:
            BadData: none of ``TRIES`` clips in a row could be decoded.
        """
        rows, drawn = rows.copy(), rng or np.random.default_rng(0)
        found: dict[int, tuple[Any, Any]] = {}
        for _ in range(TRIES):
            places = [place for place in range(len(rows)) if place not in found]
            cuts = [self._cut(int(rows[place]), drawn if rng else None) for place in places]
            read = list(decoders(16).map(lambda each: decode(each, self.window), cuts))
            for place, (_, _, reasons) in zip(places, read, strict=True):
                for key, why in reasons.items():
                    self._damage[key].add(getattr(self._media[int(rows[place])], key), why)
            for place, (frames, samples, reasons) in zip(places, read, strict=True):
                if "video" not in reasons:
                    found[place] = frames, samples
                else:
                    rows[place] = drawn.integers(len(self._media))
            if len(found) == len(rows):
                return self._joined(rows, [found[place] for place in range(len(rows))])
        raise BadData(f"{TRIES} clips in a row cannot be decoded{self._damage['video'].where}")

    def _joined(self, rows: Rows, read: list[tuple[Any, Any]]) -> Raw:
        video = [frames for frames, _ in read if frames is not None]
        heard = np.array([samples is not None for _, samples in read])
        silence = np.zeros(self.window.samples, np.float32)
        audio = np.stack([silence if samples is None else samples for _, samples in read]) if heard.any() else None
        return Raw(rows, np.stack(video) if video else None, audio, heard)

    def _cut(self, row: int, rng: Generator | None) -> Media:
        """Draw which part of a clip is read: of all of it where its reference says how long it is, else of the span."""
        media = self._media[row]
        windows = {times(ref)[1:] for ref in (media.video, media.audio) if ref is not None}
        start, stop = windows.pop()
        spare = (self.window.span if stop is None else stop - start) - self.window.frames / self.window.fps
        if spare <= 0 or windows:  # windows that differ are in step as they are
            return media
        start += spare * (0.5 if rng is None else float(rng.random()))
        video, audio = (ref and moment(times(ref)[0], start, start + self.window.seconds) for ref in media.refs)
        return Media(video, audio)


def decode(media: Media, window: Window) -> Read:
    """Read a clip from its beginning.

    Returns:
        (T, S, S, 3) frames, (L,) float32 samples, each None where it is not wanted or cannot be read, and why by key.
    """
    frames, samples = None, None
    reasons: Reasons = {}
    image = ImageReader(size=window.side, shorter=window.side)
    # Frames stand at the beginning, not in the middle: there the sound is in step with them, however long each is.
    video = VideoReader(window.frames, image=image, fps=window.fps, stop=window.frames / window.fps)
    if media.video is not None:
        frames, why = attempt(video, media.video)
        reasons |= {"video": why} if why else {}
    if media.audio is not None:
        sound, why = attempt(AudioReader(window.rate, seconds=window.seconds), media.audio)
        reasons |= {"audio": why} if why else {}
        if sound is not None:
            samples = np.zeros(window.samples, np.float32)
            samples[: len(sound)] = sound[: window.samples]
    return frames, samples, reasons


def _lines(read: Sequence[tuple[Media, Reasons]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of the quarantine, one for each reference that cannot be read."""
    for media, reasons in read:
        for key, why in reasons.items():
            yield {"key": key, "ref": getattr(media, key), "reason": why}
