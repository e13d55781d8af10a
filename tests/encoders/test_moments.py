"""The readers of encoders read many windows of a film in one pass, with the same result as one by one."""

import av
import numpy as np
import pytest

from quiver.encoders._frozen import Readers
from quiver.encoders.map_ivr.window import WindowReader, Windows
from quiver.errors import BadMedia
from quiver.media import ImageReader, VideoReader, moment
from quiver.media.clip import Clip

SPANS = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)]
READ = VideoReader(4, ImageReader(16))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "x.mp4"
    rng = np.random.default_rng(1)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            picture = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


def flat(value):
    """The arrays and numbers of a reader's output."""
    if isinstance(value, tuple | list):
        return [part for each in value for part in flat(each)]
    return [value]


@pytest.mark.parametrize(
    "reader",
    [
        Readers((READ, VideoReader(2, ImageReader(8)))),
        WindowReader(Windows(1), READ),
        WindowReader(Windows(3), READ),
        WindowReader(Windows(2), Readers((READ,))),
    ],
)
def test_windows_in_one_pass_are_those_one_by_one(film, reader, monkeypatch):
    alone = [reader(moment(film, *span)) for span in SPANS]
    opened = []
    init = Clip.__init__
    monkeypatch.setattr(Clip, "__init__", lambda clip, container: opened.append(1) or init(clip, container))
    together = list(reader.moments(film, SPANS))
    assert len(opened) <= 2  # to read, and to learn how long the film is
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def test_windows_with_proposals_read_those(film):
    reader = WindowReader(Windows(1, {film: [(0.5, 1.0, 0.9), (2.0, 2.5, 0.2)]}), READ)
    alone = [reader(moment(film, *span)) for span in SPANS]
    assert [scores for _, scores in alone] == [[0.9], [0.2], [0.2]]
    for (own, scores), (parts, said) in zip(alone, reader.moments(film, SPANS), strict=True):
        assert scores == said and all(np.array_equal(a, b) for a, b in zip(own, parts, strict=True))


def test_a_window_that_cannot_be_read_is_yielded_as_its_error(film, tmp_path):
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk" * 50)
    for reader in (Readers((READ, READ)), WindowReader(Windows(2), READ)):
        assert all(isinstance(each, BadMedia) for each in reader.moments(str(junk), SPANS))
        late = list(reader.moments(film, [(0.0, 2.0), (50.0, 52.0)]))
        assert not isinstance(late[0], BadMedia) and isinstance(late[1], BadMedia)
