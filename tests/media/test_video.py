"""Frames are found by their time, the same ones whatever the container and the distance of its key frames."""

import io
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from quiver.errors import BadMedia, BadSpec
from quiver.media import ImageReader, VideoReader, kind, moment, span, thumbnail
from quiver.media.clip import Clip

DATA = Path(os.environ.get("QUIVER_DATA", "../shared/data"))
STEP = 5  # levels of grey from frame to frame: frame i is painted 20 + 5 i


def painted(index, height=48, width=64):
    return np.full((height, width, 3), 20 + STEP * index, np.uint8)


def filmed(frames=40, *, gop=12, kind="mp4", codec="libx264", rate=10, times=None, options=None):
    """Encode a clip whose frame numbers are its brightness; ``times`` (ticks of 1/rate s) make the rate variable."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.bit_rate = gop, 4_000_000
        if codec == "libvpx":
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(painted(index), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], 1 / stream.codec_context.framerate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def numbers(source, frames=8, start=None, stop=None):
    clip = VideoReader(frames, start=start, stop=stop)(source)
    return ((clip.mean(axis=(1, 2, 3)) - 20) / STEP).round().astype(int).tolist()


def turned(mp4, matrix):
    """Write a display matrix into the track header of an MP4."""
    at = mp4.rindex(b"tkhd") + 4 + 40
    return mp4[:at] + struct.pack(">9i", *matrix) + mp4[at + 36 :]


def paced(source, frames, fps, **options):
    clip = VideoReader(frames, fps=fps, **options)(source)
    return ((clip.mean(axis=(1, 2, 3)) - 20) / STEP).round().astype(int).tolist()


@pytest.mark.parametrize("gop", [5, 250])
def test_moment_of_a_video_is_its_window(tmp_path, gop):
    path = tmp_path / "x.mp4"
    path.write_bytes(filmed(gop=gop))
    assert numbers(moment(path, 1.5, 3), 5) == numbers(path, 5, 1.5, 3)
    assert numbers(moment(path, 1), 6, 0.5, 2) == numbers(path, 6, 1.5, 3)
    assert numbers(moment(path, 1, 2), 5, 0.5, 9) == numbers(path, 5, 1.5, 2)
    for bad in (moment(path, 2, 1), moment(path, 9), moment(path, 4, 6)):
        with pytest.raises(BadMedia, match=r"x\.mp4#t=|begins at"):
            VideoReader(3)(bad)


def test_frames_at_a_pace_stand_in_the_middle_and_hold_the_last():
    clip = filmed(frames=40)  # 4 s at 10 fps
    assert paced(clip, 4, 10.0) == [18, 19, 20, 21]
    assert paced(clip, 4, 2.0) == [12, 17, 22, 27]  # the centres of half seconds from 1 s on
    assert paced(clip, 4, 10.0, start=1.0, stop=1.4) == [10, 11, 12, 13]
    assert paced(clip, 6, 1.0) == [5, 15, 25, 35, 39, 39]
    assert paced(clip, 3, 20.0) == [19, 20, 20]


def test_runs_are_spread_over_the_clip():
    clip = filmed(frames=40)
    assert paced(clip, 4, 10.0, runs=3) == [6, 7, 8, 9, 18, 19, 20, 21, 30, 31, 32, 33]
    assert paced(clip, 30, 10.0, runs=2) == [*range(3, 33), *range(8, 38)]  # they overlap
    still = VideoReader(3, fps=4.0, runs=2)(painted(7))
    assert still.shape[0] == 6
    assert len({frame.tobytes() for frame in still}) == 1
    frames = np.stack([painted(index) for index in range(6)])
    assert paced(frames, 3, 4.0, runs=2) == [1, 3, 5] * 2


@pytest.mark.parametrize("options", [{"fps": 0.0}, {"runs": 0, "fps": 2.0}, {"runs": 2}])
def test_pace_that_makes_no_sense_is_refused(options):
    with pytest.raises(BadSpec):
        VideoReader(4, **options)


@pytest.mark.parametrize("gop", [1, 5, 12, 250])
def test_frames_stand_at_the_centres_of_equal_intervals(gop):
    clip = filmed(gop=gop)
    assert numbers(clip, 8) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert numbers(clip, 4) == [5, 15, 25, 35]
    assert numbers(clip, 40) == list(range(40))
    assert numbers(clip, 1) == [20]


@pytest.mark.parametrize("gop", [1, 5, 12, 250])
def test_window_chooses_exact_frames(gop):
    clip = filmed(gop=gop)
    assert numbers(clip, 10, 1.0, 2.0) == list(range(10, 20))
    assert numbers(clip, 5, 3.0) == [31, 33, 35, 37, 39]
    assert numbers(clip, 2, 0.0, 0.4) == [1, 3]
    assert numbers(clip, 3, 2.5, 2.6) == [25, 25, 25]
    assert numbers(clip, 2, 3.8, 99.0) == [38, 39]


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mov", "libx264"),
        ("matroska", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("mpegts", "libx264"),
        ("asf", "wmv2"),
        ("flv", "flv"),
    ],
)
def test_every_container_gives_the_same_frames(kind, codec):
    clip = filmed(kind=kind, codec=codec)
    assert numbers(clip, 8) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert numbers(clip, 10, 2.0, 3.0) == list(range(20, 30))
    assert numbers(clip, 40) == list(range(40))


def test_mpeg_program_stream_gives_the_frames_a_full_decode_shows_at_those_times():
    clip = filmed(kind="mpeg", codec="mpeg2video", rate=25)  # its writer skips a beat, so its times are the truth
    with av.open(io.BytesIO(clip)) as container:
        times = np.array([frame.pts for frame in container.decode(video=0)])
    ticks = times[0] + (2 * np.arange(8) + 1) * (times[-1] + 3600 - times[0]) // 16
    assert numbers(clip, 8) == (np.searchsorted(times, ticks, side="right") - 1).tolist()


def test_fragmented_mp4_gives_the_same_frames():
    clip = filmed(options={"movflags": "frag_keyframe+empty_moov"})
    assert numbers(clip, 8) == [2, 7, 12, 17, 22, 27, 32, 37]


def test_variable_rate_follows_the_clock_not_the_count():
    times = [0, 1, 2, 3, 20, 30, 39]
    clip = filmed(7, times=times)
    # 45.5 ticks (the last frame is given the mean gap of 6.5), so those of 2.8, 8.5, 14.2, 19.9, 25.6, ... are shown
    assert numbers(clip, 8) == [2, 3, 3, 3, 4, 5, 5, 6]


def test_short_clip_repeats_its_frames():
    assert numbers(filmed(3), 8) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert numbers(filmed(1), 4) == [0, 0, 0, 0]


def test_distant_windows_are_reached_by_key_frame(monkeypatch):
    decoded = []
    decode = Clip._decode
    monkeypatch.setattr(Clip, "_decode", lambda self: (decoded.append(f) or f for f in decode(self)))
    assert numbers(filmed(45, gop=5), 1, 4.0, 4.1) == [40]
    few = len(decoded)
    decoded.clear()
    assert numbers(filmed(45, gop=250), 1, 4.0, 4.1) == [40]
    assert few < 15
    assert len(decoded) >= 41


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        (
            (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
            lambda a: np.rot90(a, -1),
        ),  # 90 degrees clockwise, a phone upright
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), lambda a: np.rot90(a, 2)),
        ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), lambda a: np.rot90(a, 1)),
    ],
    ids=["clockwise", "half", "anticlockwise"],
)
def test_rotation_in_the_header_is_applied(matrix, turn):
    file = io.BytesIO()
    ramp = np.zeros((48, 64, 3), np.uint8)
    ramp[:24, :32] = 200  # the upper left quarter is bright
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="rgb24")))
        container.mux(stream.encode(None))
    frame = VideoReader(1)(turned(file.getvalue(), matrix))[0]
    want = turn(ramp)
    assert frame.shape == want.shape
    assert ((frame > 100) == (want > 100)).mean() > 0.98


def test_frames_pass_through_the_image_reader():
    clip = VideoReader(2, ImageReader((20, 30), fit="squash"))(filmed())
    assert clip.shape == (2, 20, 30, 3)
    assert clip.dtype == np.uint8


def test_still_animation_and_array_work_as_video(tmp_path):
    frames = [Image.fromarray(painted(index)) for index in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 100, 100, 500])
    frames[0].save(
        tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[100, 100, 100, 500], lossless=True
    )
    frames[3].save(tmp_path / "a.png")
    for name in ("a.gif", "a.webp"):
        assert numbers(tmp_path / name, 8) == [0, 1, 2, 3, 3, 3, 3, 3]
        assert numbers(tmp_path / name, 3, 0.0, 0.3) == [0, 1, 2]
    assert numbers(tmp_path / "a.png", 3) == numbers(frames[3], 3) == numbers(painted(3), 3) == [3, 3, 3]
    array = np.stack([painted(index) for index in range(10)])
    assert numbers(array, 5) == [1, 3, 5, 7, 9]
    assert numbers(array[:2], 4) == [0, 0, 1, 1]
    with pytest.raises(BadMedia, match="no clock"):
        numbers(array, 2, 0.0, 1.0)


def test_clip_inside_a_larger_file_reads_through_its_span(tmp_path):
    clip = filmed()
    (tmp_path / "shard.tar").write_bytes(b"x" * 512 + clip + b"y" * 512)
    assert numbers(span(tmp_path / "shard.tar", "a.mp4", offset=512, size=len(clip)), 4) == [5, 15, 25, 35]


def test_window_after_the_end_is_refused():
    with pytest.raises(BadMedia, match=r"begins at 4 s but the clip lasts 4 s"):
        numbers(filmed(), 2, 4.0, 5.0)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(
    ("kind", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"movflags": "faststart"}),
        ("avi", "mpeg4", {}),
        ("matroska", "libx264", {}),
    ],
)
def test_clip_without_its_end_is_refused(tmp_path, kind, codec, options, share):
    path = tmp_path / "whole.mp4"
    path.write_bytes(filmed(kind=kind, codec=codec))
    if options:
        remux(path, options)
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadMedia, match=r"cut\.mp4: "):
        numbers(tmp_path / "cut.mp4")
    with pytest.raises(BadMedia, match=r"cut\.mp4: "):
        numbers(tmp_path / "cut.mp4", 1, 0.0, 0.1)


def remux(path, options):
    """Move the index of an MP4 to its front (PyAV cannot do it in memory)."""
    data = path.read_bytes()
    path.unlink()
    with av.open(io.BytesIO(data)) as source, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def test_truncation_is_told_in_packets(tmp_path):
    path = tmp_path / "whole.mp4"
    path.write_bytes(filmed())
    remux(path, {"movflags": "faststart"})
    with pytest.raises(BadMedia, match=r"is truncated: \d+ of its 40 video packets are present"):
        numbers(path.read_bytes()[:-40])


def test_damage_in_the_middle_is_not_passed_over():
    data = bytearray(filmed(gop=5))
    with av.open(io.BytesIO(data)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for at, size in packets[18:30]:
        data[at : at + size] = b"\x55" * size
    with pytest.raises(BadMedia, match="frames"):
        numbers(bytes(data), 40)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("text.mp4", b"these are only words " * 20, "cannot be read: invalid"),
        ("zero.mp4", b"", "is empty"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "cannot be read: invalid"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.mp4\n#EXT-X-ENDLIST\n",
            "cannot be read: invalid",
        ),
        ("cut.gif", b"GIF89a\x02\x00", ""),
    ],
)
def test_bad_file_is_refused_named_and_quietly(tmp_path, name, data, why, capfd):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "other.mp4").write_bytes(filmed(2))
    with pytest.raises(BadMedia, match=f"{name}: {why}"):
        VideoReader(2)(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_sound_without_pictures_is_refused(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadMedia, match="holds sound, but no video"):
        VideoReader(2)(file.getvalue())


def test_missing_clip_and_directory_are_named(tmp_path):
    for path in (tmp_path / "gone.mp4", tmp_path):
        with pytest.raises(BadMedia, match=str(path)):
            VideoReader(2)(path)


def test_no_file_stays_open(tmp_path):
    (tmp_path / "a.mp4").write_bytes(filmed(5))
    (tmp_path / "b.mp4").write_bytes(filmed(5)[:300])
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    for _ in range(5):
        VideoReader(2)(tmp_path / "a.mp4")
        with pytest.raises(BadMedia):
            VideoReader(2)(tmp_path / "b.mp4")
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)


@pytest.mark.parametrize("options", [{"frames": 0}, {"start": -1.0}, {"start": 2.0, "stop": 2.0}, {"stop": 0.0}])
def test_reader_that_asks_for_nothing_is_refused(options):
    with pytest.raises(BadSpec):
        VideoReader(**options)


def test_thumbnail_is_the_middle_frame():
    sheet = thumbnail(filmed(), "video", size=64)
    assert sheet[32, 32, 0] == pytest.approx(20 + STEP * 20, abs=2)
    assert (sheet[:7] == 255).all()


@pytest.mark.data
@pytest.mark.parametrize("pack", ["asl_video", "home_video"])
def test_real_clips_give_the_frames_of_a_full_decode(pack):
    files = [file for file in sorted((DATA / pack / "clips").glob("*")) if kind(file) == "video"][::9]
    if not files:
        pytest.skip(f"no {pack} in {DATA}")
    for file in files:
        with av.open(str(file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        got = VideoReader(4)(file)
        for index, picture in enumerate(got):
            np.testing.assert_array_equal(picture, frames[(2 * index + 1) * len(frames) // 8], err_msg=file.name)
