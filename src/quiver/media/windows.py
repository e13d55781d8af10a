"""Windows of long videos and sounds: the length of a file, its split into windows, and reading many of them.

Times are in seconds from the first frame or sample.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from quiver.errors import BadMedia, BadSpec, QuiverError
from quiver.media.animation import animation_seconds, is_picture
from quiver.media.audio import sound_seconds
from quiver.media.clip import Clip
from quiver.media.container import open_container
from quiver.media.fetch import content, decoding, head, moment, times
from quiver.media.picture import quiet
from quiver.protocols import Reader

#: First and last second of a window.
Span = tuple[float, float]
#: Shortest window and stride (s).
LEAST = 0.1
#: Most windows of one file.
MOST = 100_000
#: A rest of the file of at most this fraction of a window makes the last window longer, and no window of its own.
_REST = 0.05


def length(source: Any, key: str) -> float:
    """Return the seconds of the video or of the first sound track of a file; those of a moment for a moment.

    Args:
        source: path, ``file://`` URI, span or moment.
        key: ``video`` or ``audio``.

    Raises:
        BadMedia: it has no video or sound, is damaged or truncated, or a moment lies outside it.
        NoVideo: a video container has only sound.
    """
    whole, start, stop = times(source)
    with decoding(source):
        seconds = _video_seconds(whole) if key == "video" else sound_seconds(whole)
        seconds = (seconds if stop is None else min(stop, seconds)) - start
        if not seconds > 0:
            raise BadMedia(f"the moment begins at {start:g} s, after the end")
    return seconds


def _video_seconds(ref: str) -> float:
    opened = content(ref)
    if is_picture(head(opened)):
        with quiet():
            return animation_seconds(opened)
    with open_container(opened) as container:
        clip = Clip(container)
        return float(clip.span * clip.base)


def split(seconds: float, *, window: float, stride: float) -> list[Span]:
    """Split a length into windows that cover it to its end, in whole milliseconds.

    Windows begin every ``stride`` seconds. If the last one does not fit, it is moved back so that it ends with the
    file: no window is padded, and all are equally long. Less than a twentieth of a window at the end makes no window
    of its own: the last one is that much longer. A file that is shorter than a window is one window.

    >>> split(25, window=10, stride=10)
    [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    >>> split(20.2, window=10, stride=10), split(3, window=10, stride=5)
    ([(0.0, 10.0), (10.0, 20.2)], [(0.0, 3.0)])

    Raises:
        BadMedia: there would be more than 100,000 windows.
    """
    end, size, step = (max(1, round(1000 * each)) for each in (seconds, window, stride))
    count = 1 + max(0, end - size) // step
    if count > MOST:
        raise BadMedia(
            f"is {seconds:,.0f} s long, which makes {count:,} windows, more than {MOST:,}: choose a longer stride"
        )
    starts = [n * step for n in range(count)]
    spans = [(start, min(start + size, end)) for start in starts]
    rest = end - spans[-1][1]
    if 0 < rest <= _REST * size:
        spans[-1] = (starts[-1], end)
    elif rest > 0 and count * step < end:
        spans.append((end - size, end))
    return [(start / 1000, stop / 1000) for start, stop in spans]


def check_window(window: Any, stride: Any) -> tuple[float, float]:
    """Return the length of a window and the stride in seconds; by default windows follow each other without overlap.

    Raises:
        BadSpec: one is not a number of seconds from 0.1, or there is a stride without a window.
    """
    if window is None:
        raise BadSpec("stride needs window: the length of a window in seconds")
    stride = window if stride is None else stride
    for name, value in (("window", window), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST <= value <= 1e9:
            raise BadSpec(f"{name} must be a number of seconds of at least {LEAST}, not {value!r}")
    return float(window), float(stride)


def read_windows(reader: Reader, ref: str, spans: Sequence[Span]) -> Iterator[Any]:
    """Yield what a reader returns for windows of one file, or the error that it raises, window by window.

    A reader with a method ``moments(ref, spans)`` reads the file in one pass; another is called for each window.

    Args:
        reader: reader of a video or sound.
        ref: reference of the file, without seconds.
        spans: windows with ascending starts.
    """
    many = getattr(reader, "moments", None)
    if many is not None:
        yield from many(ref, spans)
        return
    for span in spans:
        yield attempt(reader, moment(ref, *span))


def attempt(reader: Reader, ref: str) -> Any:
    """Return what a reader returns, or the QuiverError that it raises."""
    try:
        return reader(ref)
    except QuiverError as error:
        return error


def clock(seconds: float) -> str:
    """Return a time as mm:ss, or h:mm:ss.

    >>> clock(75), clock(3675.4), clock(9.96)
    ('1:15', '1:01:15', '0:09')
    """
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
