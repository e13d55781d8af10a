"""The benchmark of moments, on a film of half a minute."""

import argparse

import av
import numpy as np
import pytest

from quiver.benchmarks.speed import moments
from quiver.media import VideoReader, length

COLOURS = ((220, 30, 30), (30, 190, 40), (30, 50, 220))


@pytest.fixture
def pack(tmp_path):
    """A pack of three clips of a second, each of another colour."""
    folder = tmp_path / "pack"
    folder.mkdir()
    for n, colour in enumerate(COLOURS):
        with av.open(folder / f"{n}.mp4", "w") as container:
            stream = container.add_stream("libx264", rate=4)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for _ in range(4):
                picture = np.full((32, 32, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    (folder / "meta.csv").write_text("file\n0.mp4\n1.mp4\n2.mp4\n")
    return folder


def test_a_film_of_joined_clips_is_split_and_searched(pack, tmp_path):
    made = moments.shots([pack], minutes=0.5)
    assert [(shot.start, shot.end) for shot in made] == [(0, 10), (10, 20), (20, 30)]
    film = tmp_path / "film.mp4"
    moments.join(film, made, side=32, fps=4)
    assert length(film, "video") == pytest.approx(30)
    for shot in made:
        shown = VideoReader(1, start=shot.start, stop=shot.end)(film)[0].mean(axis=(0, 1))
        assert np.abs(shown - COLOURS[int(shot.clip.stem)]).max() < 25
    given = argparse.Namespace(window=10, stride=5, workers=0, questions=2)
    found = moments.measure(film, made, "classic frames=2", given)
    assert (found["windows"], found["frames"]) == (5, 120)
    assert found["forward_windows_a_second"] > 0 and found["add_windows_a_second"] > 0
    assert {kind: (each["questions"], each["found@1"]) for kind, each in found["searches"].items()} == {
        "clip": (2, 1.0),
        "frame": (2, 1.0),
    }


def test_a_hit_is_right_if_window_and_shot_share_half_of_the_shorter():
    shot = moments.Shot(None, None, 10.0, 16.0)
    spans = {(5.0, 15.0): True, (10.0, 20.0): True, (13.0, 23.0): True, (14.0, 24.0): False, (11.0, 12.0): True}
    for (start, end), right in spans.items():
        assert moments.is_right(shot, {"start": start, "end": end}) is right
