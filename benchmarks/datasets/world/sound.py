"""Sound: every body is a set of resonances, excited by its impacts and by its friction.

Size sets the pitch, material the timbre, motion the timing. Waveforms are float32 at ``rate`` Hz.
"""

from dataclasses import dataclass

import numpy as np

from quiver.benchmarks.datasets.world.model import Body, Mover, Play
from quiver.benchmarks.datasets.world.motion import move
from quiver.types import Floats


@dataclass(frozen=True, slots=True)
class Timbre:
    """Resonances of a material: pitch in Hz at size 1, frequency ratios, strengths, decay of the first in seconds."""

    pitch: float
    ratios: tuple[float, ...]
    gains: tuple[float, ...]
    decay: float
    bend: float = 0.0  # rise of the pitch while it decays, share per decay


TIMBRES = {
    "metal": Timbre(540, (1, 2.76, 5.40, 8.93), (0.7, 1.0, 0.7, 0.4), 0.30),
    "wood": Timbre(330, (1, 2.42, 4.10), (1.0, 0.5, 0.25), 0.035),
    "glass": Timbre(1150, (1, 2.32, 4.25), (1.0, 0.6, 0.35), 0.16),
    "rubber": Timbre(165, (1, 1.58), (1.0, 0.35), 0.07),
    "jelly": Timbre(230, (1, 1.97), (1.0, 0.3), 0.09, bend=0.9),
}
#: Pitch factor of a shape: a ring is lower than a ball of its size, a star higher.
SHAPE_PITCH = {
    "ball": 1.0,
    "cube": 0.94,
    "pyramid": 1.12,
    "star": 1.22,
    "ring": 0.80,
    "cross": 1.06,
    "heart": 0.89,
    "hexagon": 0.97,
}
#: How loud friction (noise through the resonances) and voice (a steady tone of them) are in each activity.
FRICTION = {"roll": 0.5, "slide": 0.7, "swing": 0.22, "grow": 0.30, "spin": 0.18, "fall": 0.12, "float": 0.12}
VOICE = {"orbit": 0.22, "spin": 0.16, "fall": 0.12, "grow": 0.10, "float": 0.13}
STEP = 250.0  # Hz at which motion is sampled for sound


def pitch_of(body: Body) -> float:
    """Return the lowest resonance of a body in Hz: small bodies are high."""
    return TIMBRES[body.material].pitch * SHAPE_PITCH[body.shape] * body.size**-1.5


def ring(body: Body, rate: int) -> Floats:
    """Return the sound of one impact, peak 1."""
    timbre, pitch = TIMBRES[body.material], pitch_of(body)
    t = np.arange(int(rate * min(5 * timbre.decay, 0.8)), dtype=np.float32) / np.float32(rate)
    bent = t * (1 + timbre.bend * t / timbre.decay)
    wave = np.zeros_like(t)
    for ratio, gain in zip(timbre.ratios, timbre.gains, strict=True):
        if pitch * ratio < 0.45 * rate:
            fade = np.float32(-(0.6 + 0.4 * ratio) / timbre.decay)
            wave += np.float32(gain) * np.exp(fade * t) * np.sin(np.float32(2 * np.pi * pitch * ratio) * bent)
    return wave / np.abs(wave).max()


def soundtrack(play: Play, seconds: float, rate: int, *, nuisance: float, rng: np.random.Generator) -> Floats:
    """Return the sound of a play, (round(seconds * rate),) float32 with peaks below 1.

    Movers sound in sync with the picture; hum, hiss and stray beeps (as loud as nuisance in [0, 1]) do not.
    """
    samples = round(seconds * rate)
    wave = np.zeros(samples, np.float32)
    for mover in play.movers:
        wave += _voice(mover, samples, rate, rng)
    volume = 10 ** (-nuisance * rng.uniform(0, 0.6))
    wave *= np.float32(0.6 * volume / max(float(np.abs(wave).max()), 0.2))
    _stray(wave, rate, nuisance, rng)
    return np.clip(wave, -0.99, 0.99)


def _voice(mover: Mover, samples: int, rate: int, rng: np.random.Generator) -> Floats:
    """Return the sound of one mover: impacts and friction through its resonances, and its steady tone."""
    body, activity = mover.body, mover.act.activity
    coarse = np.arange(0, samples / rate + 2 / STEP, 1 / STEP, dtype=np.float32)
    track = move(mover, coarse)
    t = np.arange(samples, dtype=np.float32) / np.float32(rate)
    drive = np.interp(t, coarse, track.drive).astype(np.float32)
    answer = ring(body, rate)
    blows = np.zeros(samples, np.float32)
    inside = (track.hits >= 0) & (track.hits * rate < samples)
    np.add.at(blows, (track.hits[inside] * rate).astype(np.int64), track.force[inside])
    if friction := FRICTION.get(activity, 0.0):
        hiss = _noise(rng, samples)
        loud = np.float32(friction * 0.5 / np.sqrt(float(answer @ answer)))
        blows += loud * hiss * drive
    wave = _convolve(blows, answer)
    if voice := VOICE.get(activity, 0.0):
        wave += np.float32(voice) * drive * _tone(body, np.interp(t, coarse, track.pitch), rate)
    return wave


def _tone(body: Body, factor: Floats, rate: int) -> Floats:
    timbre = TIMBRES[body.material]
    pitch = min(pitch_of(body), 0.1 * rate)
    angle = (2 * np.pi * pitch / rate * np.cumsum(factor)).astype(np.float32)
    tones = zip(timbre.ratios[:3], timbre.gains[:3], strict=True)
    return sum((np.float32(gain) * np.sin(np.float32(ratio) * angle) for ratio, gain in tones), np.zeros_like(angle))


def _noise(rng: np.random.Generator, samples: int) -> Floats:
    """Return white noise of unit variance (uniform: cheaper than Gaussian, and no one can hear it)."""
    raw = np.frombuffer(rng.bytes(2 * samples), np.int16)
    return raw * np.float32(np.sqrt(3) / 32768)


def _convolve(blows: Floats, answer: Floats) -> Floats:
    width = _smooth(len(blows) + len(answer))
    spectrum = np.fft.rfft(blows, width) * np.fft.rfft(answer, width)
    return np.fft.irfft(spectrum, width)[: len(blows)].astype(np.float32)


def _smooth(width: int) -> int:
    """Return a length not below ``width`` that is quick to transform: 2048 times something small."""
    return -(-width // 2048) * 2048


def _stray(wave: Floats, rate: int, nuisance: float, rng: np.random.Generator) -> None:
    """Add hiss, mains hum and up to two beeps that belong to nothing in the picture, in place."""
    t = np.arange(len(wave), dtype=np.float32) / np.float32(rate)
    hiss, hum, beeps = rng.uniform(0.002, 0.02), rng.uniform(0, 0.02), int(rng.integers(0, 3))
    wave += np.float32(nuisance * hiss) * _noise(rng, len(wave))
    wave += np.float32(nuisance * hum) * np.sin(np.float32(2 * np.pi * rng.choice((50, 60))) * t)
    for _ in range(beeps):
        at, pitch, sweep = rng.uniform(0, t[-1]), rng.uniform(300, 0.3 * rate), rng.uniform(-0.5, 0.5)
        near = slice(int(at * rate), int((at + 0.15) * rate))
        local = t[near] - np.float32(at)
        envelope = np.sin(np.pi * local / 0.15) ** 2
        wave[near] += np.float32(0.08 * nuisance) * envelope * np.sin(2 * np.pi * pitch * local * (1 + sweep * local))
