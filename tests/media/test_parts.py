"""Windows of long films and sounds are read without what lies between them, and are what a full decode gives."""

import io
import math
import shutil

import av
import numpy as np
import pytest
import soundfile

from quiver.encoders.mmv.reader import SoundReader
from quiver.errors import BadMedia
from quiver.media import AudioReader, VideoReader, moment, sound_parts
from quiver.media import clip as clips
from quiver.media.container import open_container

RATE = 16_000


def sweep(seconds, rate):
    """A tone that rises all the time, so that no two windows are alike."""
    at = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (100 + 40 * at) * at)).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twenty seconds of the sweep in a file of each kind."""
    folder = tmp_path_factory.mktemp("sounds")
    made = {}
    for kind, rate in (("wav", 44_100), ("flac", 48_000), ("ogg", 44_100), ("mp3", 44_100)):
        made[kind] = folder / f"sweep.{kind}"
        soundfile.write(made[kind], sweep(20, rate), rate)
    for kind, codec in (("mp4", "aac"), ("mka", "libopus"), ("mpegts", "aac")):
        made[kind] = folder / f"sweep.{kind}"
        with av.open(str(made[kind]), "w", format="matroska" if kind == "mka" else kind) as container:
            stream = container.add_stream(codec, rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(sweep(20, 48_000)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return made


@pytest.mark.parametrize(
    ("kind", "late"),  # samples by which a stated length may differ from what is decoded
    [("wav", 0), ("flac", 0), ("ogg", 0), ("mp3", 1600), ("mp4", 400), ("mka", 400), ("mpegts", 800)],
)
def test_windows_are_those_of_the_whole_sound(sounds, kind, late):
    reader = SoundReader(RATE, 0.5, 3)
    found = reader(str(sounds[kind]))
    whole = AudioReader(RATE)(str(sounds[kind]))
    assert found.shape == (3, 8000)
    if not late:
        np.testing.assert_allclose(found, reader._cut(whole), atol=1e-3)
        return
    for number, window in enumerate(found):
        near = reader._places(len(whole))[number]
        part = whole[near - late : near + 8000 + late]
        match = np.correlate(part, window, "valid")
        at = int(match.argmax())
        gap = np.abs(part[at : at + 8000] - window)[800:-800]
        assert gap.mean() < 0.03, (at - late, gap.mean())


def test_a_window_of_a_moment_and_one_of_a_short_sound_are_as_before(sounds, tmp_path):
    reader = SoundReader(RATE, 0.5, 3)
    part = moment(str(sounds["flac"]), 3.21, 17.9)
    np.testing.assert_allclose(reader(part), reader._cut(AudioReader(RATE)(part)), atol=1e-3)
    short = tmp_path / "short.wav"
    soundfile.write(short, sweep(1.2, 44_100), 44_100)
    assert np.array_equal(reader(str(short)), reader._cut(AudioReader(RATE)(str(short))))
    samples = sweep(3, RATE)
    assert np.array_equal(reader(samples), reader._cut(samples))


def test_what_lies_between_windows_is_not_read(tmp_path):
    rate, path = 16_000, tmp_path / "hole.wav"
    samples = sweep(60, rate)
    places = []
    sound_parts(samples, lambda total: places.append(total) or [total // 4, total * 3 // 4], rate=rate, length=rate)
    samples[rate * 29 : rate * 31] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")
    first, second = sound_parts(str(path), lambda total: [total // 4, total * 3 // 4], rate=rate, length=rate)
    assert np.array_equal(first, samples[15 * rate : 16 * rate])
    assert np.array_equal(second, samples[45 * rate : 46 * rate])
    with pytest.raises(BadMedia, match="not finite"):
        AudioReader(rate)(str(path))


@pytest.mark.parametrize("kind", ["wav", "flac", "mp4", "mka"])
def test_a_truncated_sound_is_refused_though_its_windows_are_there(sounds, kind, tmp_path):
    cut = tmp_path / f"cut.{kind}"
    data = sounds[kind].read_bytes()
    cut.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(BadMedia, match=r"cut\."):
        SoundReader(RATE, 0.5, 1)(str(cut))


# ---- films in Matroska, whose key frames stand in cues


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")

    def made(kind, codec, bf="2"):
        path = folder / f"{codec}{bf}.{kind}"
        if not path.exists():
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=10)
                stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
                stream.codec_context.gop_size = 12
                if codec == "libx264":
                    stream.options = {"bf": bf}
                voice = container.add_stream("libopus", rate=48_000, layout="mono")
                tone = av.AudioFrame.from_ndarray(sweep(12, 48_000)[None], format="fltp", layout="mono")
                tone.sample_rate, tone.pts = 48_000, 0
                for n in range(120):
                    picture = np.full((32, 48, 3), 2 * n, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode(None))
                container.mux(voice.encode(tone))
                container.mux(voice.encode(None))
        return path

    return made


@pytest.mark.parametrize(
    ("kind", "codec", "bf"), [("mkv", "libx264", "0"), ("mkv", "libx264", "2"), ("webm", "libvpx", "")]
)
def test_cues_say_what_all_packets_say(films, kind, codec, bf):
    path = str(films(kind, codec, bf))
    with open_container(path) as container:
        by_cues = clips._cued(container, clips._stream(container))
    with open_container(path) as container:
        by_packets = clips._scan(container, clips._stream(container))
    assert by_cues == by_packets and len(by_cues.keys) >= 10


def test_a_film_with_cues_is_not_read_through(films, monkeypatch):
    path = str(films("mkv", "libx264"))
    read = []
    packets = clips._packets

    def counted(container, *streams):
        for each in packets(container, *streams):
            read.append(each)
            yield each

    monkeypatch.setattr(clips, "_packets", counted)
    frames = VideoReader(2, fps=10.0)(moment(path, 8.0, 8.4))
    assert np.allclose(frames.mean(axis=(1, 2, 3)), [161, 163], atol=6)
    with open_container(path) as container:
        total = sum(1 for packet in container.demux() if packet.size)
    assert 0 < len(read) < total / 3


@pytest.mark.parametrize("harm", ["no cues", "wrong cues"])
def test_a_film_whose_cues_are_gone_or_wrong_is_scanned(films, tmp_path, harm):
    data = bytearray(films("mkv", "libx264").read_bytes())
    cues = data.rfind(bytes.fromhex("1c53bb6b"))
    assert cues > 0
    if harm == "no cues":
        data[cues : cues + 4] = bytes.fromhex("ec53bb6b")[:4]  # a void element: nothing is listed
        data[cues] = 0xEC
    else:
        for place in range(cues, len(data) - 1):  # CueClusterPosition: all clusters where the first is
            if data[place] == 0xF1 and data[place + 1] in (0x81, 0x82, 0x83):
                size = data[place + 1] & 0x0F
                data[place + 2 : place + 2 + size] = bytes(size)
    path = tmp_path / "harmed.mkv"
    path.write_bytes(bytes(data))
    right = VideoReader(6)(str(films("mkv", "libx264")))
    assert np.array_equal(VideoReader(6)(str(path)), right)


def test_a_file_without_any_list_is_scanned_once(films, tmp_path, monkeypatch):
    path = tmp_path / "film.ts"
    with av.open(str(films("mkv", "libx264", "0"))) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    scans = []
    scan = clips._scan
    monkeypatch.setattr(clips, "_scan", lambda *given: scans.append(1) or scan(*given))
    first, second = (VideoReader(4)(str(path)) for _ in range(2))
    assert np.array_equal(first, second) and scans == [1]
    assert np.array_equal(VideoReader(4)(io.BytesIO(path.read_bytes()).getvalue()), first)
    other = tmp_path / "other.ts"
    shutil.copy(path, other)
    VideoReader(4)(str(other))
    assert len(scans) == 3  # bytes, and another file


def test_sound_of_a_film_with_cues_begins_where_it_should(films):
    path = str(films("mkv", "libx264"))
    whole = AudioReader(RATE)(path)
    part = AudioReader(RATE)(moment(path, 9.0, 10.0))
    shifted = whole[9 * RATE - 40 : 10 * RATE + 40]
    match = np.correlate(shifted, part, "valid")
    assert abs(int(match.argmax()) - 40) <= math.ceil(RATE / 1000)  # its times are whole milliseconds
