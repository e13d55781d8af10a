"""A long file is split to its end without padding, and read in one pass exactly as window by window."""

import io
from dataclasses import dataclass
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quiver.encoders.mmv.reader import SoundReader
from quiver.errors import BadMedia, BadSpec
from quiver.media import (
    AudioReader,
    ImageReader,
    NoVideo,
    VideoReader,
    check_window,
    clock,
    digest,
    digests,
    length,
    moment,
    read_windows,
    split,
)
from quiver.media.clip import Clip
from quiver.media.preview import sound_preview, video_preview

FRAMES, RATE = 60, 10  # 6 s
READERS = [VideoReader(8), VideoReader(4, fps=5.0), VideoReader(3, fps=4.0, runs=2), VideoReader(1)]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The path of 6 s of noise that changes with every frame, in a container of each kind."""
    folder = tmp_path_factory.mktemp("films")

    def made(kind, codec="libx264", gop=12):
        path = folder / f"{codec}{gop}.{kind}"
        if not path.exists():
            rng = np.random.default_rng(3)
            with av.open(path, "w") as container:
                stream = container.add_stream(codec, rate=RATE)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                stream.codec_context.gop_size = gop
                if codec == "libx264":
                    stream.options = {"sc_threshold": "0", "bf": "2"}  # key frames stand where gop says
                for _ in range(FRAMES):
                    picture = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode(None))
        return path

    return made


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The path of 6 s of a rising tone, in a container of each kind."""
    folder = tmp_path_factory.mktemp("sounds")
    at = np.arange(6 * 16_000) / 16_000
    wave = 0.5 * np.sin(2 * np.pi * (200 + 100 * at) * at)

    def made(kind):
        path = folder / f"tone.{kind}"
        if kind in ("wav", "flac", "ogg", "mp3"):
            soundfile.write(path, wave, 16_000)
            return path
        with av.open(path, "w") as container:
            stream = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return made


@given(seconds=st.floats(0.05, 400), window=st.floats(0.1, 60), stride=st.floats(0.1, 60))
def test_windows_cover_a_file_and_none_reaches_beyond_its_end(seconds, window, stride):
    spans = split(seconds, window=window, stride=stride)
    end, size = round(seconds, 3), round(window, 3)
    starts = [start for start, _ in spans]
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert all(0 <= start < stop <= end + 0.0006 for start, stop in spans)
    lengths = [stop - start for start, stop in spans]
    if end > size:
        assert all(length == pytest.approx(size, abs=0.0021) for length in lengths[:-1])
        assert size - 0.0021 <= lengths[-1] <= 1.05 * size + 0.0021  # never shorter than a window, never padded
    else:
        assert spans == [(0, max(end, 0.001))]
    if stride <= window:  # no gaps, up to the end
        assert all(stop >= start for (_, stop), (start, _) in pairwise(spans))
        assert spans[-1][1] == pytest.approx(end, abs=0.0011)


def test_the_last_window_moves_back_or_takes_a_small_rest():
    assert split(20, window=10, stride=5) == [(0, 10), (5, 15), (10, 20)]
    assert split(23, window=10, stride=10) == [(0, 10), (10, 20), (13, 23)]
    assert split(20.4, window=10, stride=10) == [(0, 10), (10, 20.4)]
    assert split(10, window=10, stride=10) == [(0, 10)]
    assert split(35, window=5, stride=20) == [(0, 5), (20, 25)]  # the gaps are meant
    assert split(43, window=5, stride=20) == [(0, 5), (20, 25), (38, 43)]
    assert split(0.3, window=0.1, stride=0.1) == [(0, 0.1), (0.1, 0.2), (0.2, 0.3)]
    with pytest.raises(BadMedia, match="choose a longer stride"):
        split(1e6, window=1, stride=1)


@pytest.mark.parametrize("given", [(0, None), (-1, 1), (float("nan"), 1), ("10", 5), (True, 1), (5, 0), (None, 5)])
def test_a_window_that_makes_no_sense_is_refused(given):
    with pytest.raises(BadSpec, match=r"window|stride"):
        check_window(*given)


def test_stride_is_the_window_by_default():
    assert check_window(10, None) == (10.0, 10.0) and check_window(10, 2.5) == (10.0, 2.5)


@pytest.mark.parametrize(
    ("kind", "codec", "gop"),
    [("mp4", "libx264", 12), ("mkv", "libx264", 250), ("ts", "libx264", 5), ("webm", "libvpx", 30)],
)
def test_one_pass_gives_the_frames_of_each_window(film, kind, codec, gop):
    path = film(kind, codec, gop)
    assert length(path, "video") == pytest.approx(6, abs=0.11)
    for reader in READERS:
        for stride in (0.7, 1.5, 2.0):
            spans = split(length(path, "video"), window=1.5, stride=stride)
            alone = [reader(moment(path, *span)) for span in spans]
            together = list(reader.moments(str(path), spans))
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_one_pass_decodes_a_frame_once(film, monkeypatch):
    path, asked = film("mp4", gop=250), []
    at = Clip.at
    monkeypatch.setattr(Clip, "at", lambda clip, tick: asked.append(tick) or at(clip, tick))
    opened = []
    init = Clip.__init__
    monkeypatch.setattr(Clip, "__init__", lambda clip, container: opened.append(1) or init(clip, container))
    spans = split(6, window=4, stride=1)
    assert len(list(VideoReader(8).moments(str(path), spans))) == 3
    assert opened == [1] and asked == sorted(asked)
    assert len(asked) == len(set(asked)) == 12  # every half second once, of 24 frames in all


def test_one_pass_goes_on_behind_damage_and_names_the_window(film, tmp_path):
    content = bytearray(film("mp4", gop=10).read_bytes())
    with av.open(film("mp4", gop=10)) as container:
        entries = list(container.streams.video[0].index_entries)
    content[entries[20].pos : entries[30].pos] = bytes(entries[30].pos - entries[20].pos)  # from 2 to 3 s
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(content)
    spans = split(6, window=1, stride=1)
    found = list(VideoReader(4).moments(str(hurt), spans))
    bad = [n for n, each in enumerate(found) if isinstance(each, BadMedia)]
    assert bad in ([2], [1, 2])  # a decoder reads ahead: the window before may be lost too
    assert str(found[2]).startswith(f"{hurt}#t=2,3: cannot be decoded")
    whole = list(VideoReader(4).moments(str(film("mp4", gop=10)), spans))
    assert all(np.array_equal(found[n], whole[n]) for n in range(6) if n not in bad)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "mka"])
def test_one_pass_gives_the_samples_of_each_window(sound, kind):
    path = sound(kind)
    seconds = length(path, "audio")
    assert seconds == pytest.approx(6, abs=0.15)
    for reader, stride in ((AudioReader(8_000), 0.7), (AudioReader(16_000), 2.0), (AudioReader(8_000, 1.0), 1.5)):
        spans = split(5.9, window=1.5, stride=stride)
        alone = [reader(moment(path, *span)) for span in spans]
        together = list(reader.moments(str(path), spans))
        assert [len(each) for each in alone] == [len(each) for each in together]
        assert all(np.abs(a - b).max() < 2e-3 for a, b in zip(alone, together, strict=True))
    windows = SoundReader(8_000, 0.5, 3)
    for alone, together in zip(spans, windows.moments(str(path), spans), strict=True):
        assert np.abs(windows(moment(path, *alone)) - together).max() < 2e-3


def test_files_without_the_medium_say_so(sound, film, tmp_path):
    with pytest.raises(NoVideo, match="holds sound, but no video"):
        length(sound("m4a"), "video")
    with pytest.raises(BadMedia, match="holds no sound"):
        length(film("mp4"), "audio")
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk" * 99)
    with pytest.raises(BadMedia, match=r"junk\.mp4"):
        length(junk, "video")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(film("mkv", gop=250).read_bytes()[:-9000])
    with pytest.raises(BadMedia, match="truncated"):
        length(cut, "video")
    errors = list(VideoReader(2).moments(str(junk), [(0, 1), (1, 2)]))
    assert len(errors) == 2 and all(isinstance(each, BadMedia) for each in errors)
    errors = list(AudioReader(8_000).moments(str(film("mp4")), [(0, 1), (1, 2)]))
    assert len(errors) == 2 and all("holds no sound" in str(each) for each in errors)


def test_length_of_a_recording_whose_container_does_not_say_it(tmp_path):
    live = tmp_path / "live.mkv"
    with av.open(live, "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), n, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(live) as container:
        assert container.duration is None
    assert length(live, "video") == pytest.approx(6, abs=0.001)


def test_length_of_a_moment_and_of_an_animation(film, tmp_path):
    path = film("mp4")
    assert length(moment(path, 2), "video") == pytest.approx(4)
    assert length(moment(path, 2, 3.5), "video") == pytest.approx(1.5)
    with pytest.raises(BadMedia, match="after the end"):
        length(moment(path, 9), "video")
    pictures = [Image.new("L", (8, 8), level) for level in (0, 99, 255)]
    animation = tmp_path / "x.webp"
    pictures[0].save(animation, save_all=True, append_images=pictures[1:], duration=500)
    assert length(animation, "video") == pytest.approx(1.5)
    spans = split(1.5, window=0.5, stride=0.5)
    levels = [each.mean() for each in VideoReader(1, ImageReader(8)).moments(str(animation), spans)]
    assert levels == pytest.approx([0, 99, 255], abs=8)


def test_hashes_of_windows_are_those_of_moments(film):
    path, spans = film("mp4"), [(0.0, 1.5), (1.5, 3.0)]
    assert digests(str(path), spans) == [digest([moment(path, *span)]) for span in spans]


@dataclass
class Plain:
    """A reader of a third party, with no method for several windows."""

    def __call__(self, source):
        if source.endswith("#t=1,2"):
            raise BadMedia("no")
        return source


def test_a_reader_without_a_method_for_windows_reads_them_one_by_one():
    found = list(read_windows(Plain(), "x.mp4", [(0, 1), (1, 2), (2, 3)]))
    assert found[0] == "x.mp4#t=0,1" and isinstance(found[1], BadMedia) and found[2] == "x.mp4#t=2,3"


def test_previews_are_the_moment_and_nothing_more(film, sound):
    preview = video_preview(moment(film("mp4"), 1, 4))
    with av.open(io.BytesIO(preview)) as container:
        assert container.duration / 1e6 == pytest.approx(3, abs=0.05)
        assert container.streams.video[0].codec_context.name == "h264" and not container.streams.audio
    frames = VideoReader(3, ImageReader(240, fit="pad", fill=0))
    own, original = frames(preview), frames(moment(film("mp4"), 1, 4))
    assert np.abs(own.astype(int) - original).mean() < 12
    samples, rate = soundfile.read(io.BytesIO(sound_preview(moment(sound("wav"), 2, 5))))
    assert len(samples) / rate == pytest.approx(3, abs=0.15)


def test_times_are_said_as_on_a_clock():
    assert [clock(each) for each in (0, 59.9, 60, 3599, 3600)] == ["0:00", "0:59", "1:00", "59:59", "1:00:00"]
