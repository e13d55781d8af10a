"""How things move and when they hit: ten activities as functions of time.

Picture and sound both ask here, which is what keeps them in sync. Stage units, seconds, radians;
height is up from the floor of the stage; n is the number of moments asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from quiver.benchmarks.datasets.world.model import Act, Mover
from quiver.types import Floats

RADIUS = 0.255  # of a body of size 1, stage units
PAD, TIP, HUB, BEAM = 0.16, 0.34, 0.92, 1.85  # heights of trampoline, pump, post and beam
CUT = 1.32  # height at which a rope ends when what hung on it has fallen


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Positions of a body at n moments, and its sounds.

    Attributes:
        x, y: (n,) middle of the body. turn: (n,) rotation, clockwise. grow: (n,) factor of its size.
        press: (n,) factor of its height, below 1 where it is squashed.
        drive: (n,) loudness in [0, 1] of what sounds all the time. pitch: (n,) factor of that sound's pitch.
        hits, force: (h,) moments of impact in seconds, which may lie outside the clip, and their strength.
    """

    x: Floats
    y: Floats
    turn: Floats
    grow: Floats
    press: Floats
    drive: Floats
    pitch: Floats
    hits: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    force: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def move(mover: Mover, t: Floats) -> Track:
    """Return the track of a mover at moments t (n,), in seconds."""
    return MOVES[mover.act.activity](mover.act, np.asarray(t, np.float32), RADIUS * mover.body.size)


def telling(mover: Mover, seconds: float, share: float) -> float:
    """Return a moment at which something is going on; ``share`` in [0, 1) chooses among such moments."""
    t = np.linspace(0.1 * seconds, 0.9 * seconds, 64, dtype=np.float32)
    track = move(mover, t)
    parts = (track.x, track.y, 0.3 * track.turn, track.grow)
    speed = sum(np.abs(np.gradient(part)) for part in parts)
    lively = np.flatnonzero(speed >= 0.7 * np.quantile(speed, 0.75))
    return float(t[lively[int(share * len(lively))]])


def _track(t: Floats, **parts: Floats | float) -> Track:
    whole = {"x": 0.0, "y": 0.0, "turn": 0.0, "grow": 1.0, "press": 1.0, "drive": 0.0, "pitch": 1.0} | parts
    arrays = {name: np.asarray(part, np.float32) for name, part in whole.items()}
    return Track(**{k: v if k in ("hits", "force") else np.broadcast_to(v, t.shape) for k, v in arrays.items()})


def _starts(gaps: Floats) -> Floats:
    """Return when each of consecutive gaps begins, from 0."""
    return np.concatenate(([0.0], np.cumsum(gaps)[:-1])).astype(np.float32)


def _flights(t: Floats, starts: Floats, gaps: Floats) -> tuple[Floats, Floats]:
    """Return parabola heights in [0, 1] of the first gap's, and time since the last landing."""
    which = np.clip(np.searchsorted(starts, t, side="right") - 1, 0, len(starts) - 1)
    since = t - starts[which]
    share = np.clip(since / gaps[which], 0, 1)
    return 4 * share * (1 - share) * (gaps[which] / gaps[0]) ** 2, since


def _beats(act: Act, first: float, every: float, until: float) -> Floats:
    """Return the moments of a beat up to ``until`` seconds; first and every are shares of a repetition."""
    return (np.arange(first, act.tempo * until + every, every) / act.tempo).astype(np.float32)


def _bounce(act: Act, t: Floats, radius: float) -> Track:
    gaps = np.array([act.spring**k / act.tempo for k in range(14)], np.float32)
    starts = _starts(gaps) - np.float32(act.phase * gaps[0])
    height, since = _flights(t, starts, gaps)
    press = 1 - 0.22 * np.exp(-((since / 0.05) ** 2)) * (t > starts[1] - 0.05)
    drift = act.way * 0.12 * np.sin(act.tempo * t)
    y = PAD + radius * press + (0.5 + 0.5 * act.reach) * height
    turn = 0.3 * act.way * t
    return _track(t, x=drift, y=y, turn=turn, press=press, hits=starts[1:], force=(gaps / gaps[0])[:-1])


def _shake(act: Act, t: Floats, radius: float) -> Track:
    angle = 2 * np.pi * (act.tempo * t + act.phase)
    beat = 0.5 / act.tempo  # it rattles at both ends of its way
    hits = _beats(act, 0.25 - act.phase, 0.5, t[-1])
    force = np.full(len(hits), 0.45 + 0.25 * beat, np.float32)
    x, turn = 0.30 * act.reach * np.sin(angle), 0.35 * np.sin(angle + 0.6)
    return _track(t, x=x, y=PAD + radius + 0.02, turn=turn, hits=hits, force=force)


def _run(act: Act, t: Floats, radius: float) -> tuple[dict[str, Floats | float], Floats]:
    """Go down the slope once, faster and faster, and hit the stop at its foot."""
    start, takes = 0.5 * (act.phase - 0.15), 1 / act.tempo
    share = np.clip((t - start) / takes, 0, 1)
    gone = 0.35 * share + 0.65 * share**2
    x, lift = -0.80 + 1.50 * gone, radius / np.cos(SLOPE)
    going = (share > 0) & (share < 1)
    drive = np.where(going, 0.3 + 0.7 * share, 0)
    hits = np.array([start + takes], np.float32)
    parts: dict[str, Floats | float] = {
        "x": act.way * x,
        "y": slope_height(x) + lift,
        "drive": drive,
        "pitch": 0.8 + 0.5 * share,
        "hits": hits,
        "force": np.ones(1, np.float32),
    }
    return parts, 1.50 * gone / np.cos(SLOPE)


SLOPE = float(np.arctan(0.52))  # radians


def slope_height(x: Floats) -> Floats:
    """Return the height of a slope that falls to the right, x in [-1, 1]."""
    return 0.12 + 0.52 * (1 - x)


def _roll(act: Act, t: Floats, radius: float) -> Track:
    parts, gone = _run(act, t, radius)
    parts["drive"] = parts["drive"] * (0.3 + 0.7 * np.cos(gone / radius) ** 2)  # it rumbles twice per turn
    return _track(t, **parts, turn=act.way * gone / radius)


def _slide(act: Act, t: Floats, radius: float) -> Track:
    parts, _ = _run(act, t, radius)
    return _track(t, **parts, turn=act.way * SLOPE)


def _orbit(act: Act, t: Floats, radius: float) -> Track:
    angle = 2 * np.pi * (act.way * act.tempo * t + act.phase)
    wide, high = 0.60 + 0.12 * act.reach, 0.50
    nearness = 0.5 + 0.5 * np.sin(angle)  # it comes towards us at the foot of its ring
    x, y = wide * np.cos(angle), HUB - high * np.sin(angle)
    return _track(t, x=x, y=y, drive=0.15 + 0.85 * nearness, pitch=1 + 0.25 * act.way * np.cos(angle))


def _spin(act: Act, t: Floats, radius: float) -> Track:
    turns = act.tempo * t + act.phase
    drive = 0.35 + 0.65 * np.clip(np.cos(2 * np.pi * turns), 0, 1) ** 2  # one swish per turn
    return _track(t, y=HUB, turn=act.way * 2 * np.pi * turns, drive=drive, pitch=0.7 + 0.4 * act.tempo)


def _swing(act: Act, t: Floats, radius: float) -> Track:
    phase = 2 * np.pi * (act.tempo * t + act.phase)
    angle = act.way * (0.4 + 0.45 * act.reach) * np.cos(phase)
    length = 1.12
    ends = _beats(act, -act.phase, 0.5, t[-1])
    creak = np.full(len(ends), 0.3, np.float32)
    parts = {"x": length * np.sin(angle), "y": BEAM - length * np.cos(angle), "turn": -angle}
    return _track(t, **parts, drive=np.sin(phase) ** 4, pitch=1.2, hits=ends, force=creak)


def _fall(act: Act, t: Floats, radius: float) -> Track:
    cut, takes = 0.15 + 0.6 * act.phase, 1 / act.tempo
    gaps = takes * np.array([2.0, 2 * 0.45 * act.spring, 2 * (0.45 * act.spring) ** 2, 0.05], np.float32)
    starts = _starts(gaps) + np.float32(cut - takes)
    height, since = _flights(t, starts, gaps)
    drop = CUT - 2 * radius
    height = np.where(t < cut, 1.0, height)
    falling = (t >= cut) & (t < starts[1])
    share = np.clip((t - cut) / takes, 0, 1)
    press = 1 - 0.22 * np.exp(-((since / 0.05) ** 2)) * (t > starts[1] - 0.05)
    turn = act.way * 0.8 * share
    hits = np.concatenate(([cut], starts[1:3])).astype(np.float32)
    force = np.array([0.15, 1.0, 0.4], np.float32)  # the snap of the rope, then two landings
    parts = {"y": radius * press + drop * height, "turn": turn, "press": press}
    return _track(t, **parts, drive=np.where(falling, share, 0), pitch=1.9 - 0.9 * share, hits=hits, force=force)


def _grow(act: Act, t: Floats, radius: float) -> Track:
    strokes = act.tempo * t + act.phase
    whole = np.floor(strokes)
    push = np.clip((strokes - whole) / 0.35, 0, 1)  # air enters during the first third of a stroke
    done = (whole + push * push * (3 - 2 * push)) / (act.tempo * 2 + 1)
    grow = 0.45 + (0.75 + 0.25 * act.reach) * np.clip(done, 0, 1)
    hits = _beats(act, -act.phase, 1, t[-1])
    parts = {"y": TIP + radius * grow, "grow": grow, "drive": np.where(push < 1, 1 - push, 0)}
    return _track(t, **parts, pitch=0.55 / grow + 0.4, hits=hits, force=np.full(len(hits), 0.25, np.float32))


def _float(act: Act, t: Floats, radius: float) -> Track:
    rise = 0.10 + 0.36 * (0.5 + 0.5 * act.reach) * t
    y = TIP + radius + np.minimum(rise + 0.04 * np.sin(2 * np.pi * act.tempo * t), 1.25)
    x = 0.26 * act.way * np.sin(2 * np.pi * (0.5 * act.tempo * t + act.phase))
    pops = _beats(act, 1 - act.phase, 1, t[-1])
    drive = 0.25 + 0.3 * np.sin(2 * np.pi * act.tempo * t) ** 2
    parts = {"x": x, "y": y, "turn": 0.3 * np.sin(2 * np.pi * 0.5 * act.tempo * t)}
    return _track(t, **parts, drive=drive, pitch=0.8 + 0.5 * y, hits=pops, force=np.full(len(pops), 0.2, np.float32))


MOVES: dict[str, Callable[[Act, Floats, float], Track]] = {
    "bounce": _bounce,
    "shake": _shake,
    "roll": _roll,
    "slide": _slide,
    "orbit": _orbit,
    "spin": _spin,
    "swing": _swing,
    "fall": _fall,
    "grow": _grow,
    "float": _float,
}


def hits_within(mover: Mover, seconds: float) -> Floats:
    """Return the moments of impact of a mover inside a clip, in seconds, ascending."""
    hits = move(mover, np.array([0.0, seconds], np.float32)).hits
    return hits[(hits >= 0) & (hits < seconds)]
