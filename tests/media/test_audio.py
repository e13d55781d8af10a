"""Sound keeps its pitch, level and length whatever it is stored as."""

import io
import os
import struct
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from quiver.errors import BadMedia, BadSpec
from quiver.media import AudioReader, moment, span, thumbnail

DATA = Path(os.environ.get("QUIVER_DATA", "../shared/data"))


def tone(rate, seconds=1.0, hertz=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples, rate, kind="WAV", subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def muxed(samples, rate, kind, codec):
    """Encode one channel with PyAV."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for begin in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 1024].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def peak_hertz(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (16_000, 48_000), (48_000, 16_000), (8_000, 44_100)])
def test_resampled_tone_keeps_pitch_level_and_length(source, target):
    samples = AudioReader(target)(encoded(tone(source, 2.0, level=0.5), source, subtype="FLOAT"))
    assert len(samples) == 2 * target
    assert samples.dtype == np.float32
    middle = samples[target // 2 : -target // 2]
    assert peak_hertz(middle, target) == 440
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, abs=1e-3)


def test_resampling_lets_nothing_alias():
    samples = AudioReader(16_000)(encoded(tone(48_000, hertz=15_000), 48_000, subtype="FLOAT"))
    assert np.abs(samples[2_000:-2_000]).max() < 1e-4


def test_same_rate_changes_no_sample():
    samples = tone(16_000)
    np.testing.assert_array_equal(AudioReader(16_000)(encoded(samples, 16_000, subtype="FLOAT")), samples)


@pytest.mark.parametrize(
    ("subtype", "values", "want"),
    [
        ("PCM_U8", np.array([-(2**31), 2**30, 0], np.int32), [-1, 0.5, 0]),
        ("PCM_16", np.array([-32768, 16384, 1], np.int16), [-1, 0.5, 1 / 32768]),
        ("PCM_24", np.array([-(2**31), 2**30, 2**8], np.int32), [-1, 0.5, 2**-23]),
        ("PCM_32", np.array([-(2**31), 2**30, 2**9], np.int32), [-1, 0.5, 2**-22]),
        ("FLOAT", np.array([-1.0, 0.5, 0.25], np.float32), [-1, 0.5, 0.25]),
        ("DOUBLE", np.array([-1.0, 0.5, 0.25]), [-1, 0.5, 0.25]),
    ],
)
def test_every_sample_format_is_scaled_to_one(subtype, values, want):
    np.testing.assert_array_equal(AudioReader(8_000)(encoded(values, 8_000, subtype=subtype)), np.float32(want))


def test_stereo_is_averaged():
    pair = np.array([[0.5, 0.25], [1.0, -1.0], [0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(
        AudioReader(8_000)(encoded(pair, 8_000, subtype="FLOAT")), np.float32([0.375, 0, 0.25])
    )


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_first_seconds_equal_the_beginning_of_the_whole(rate):
    wav = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 3 * 44_100), 44_100)
    whole, part = AudioReader(rate)(wav), AudioReader(rate, seconds=1.5)(wav)
    assert len(part) == 1.5 * rate
    np.testing.assert_allclose(part, whole[: len(part)], atol=1e-6)


@pytest.mark.parametrize(("name", "tolerance"), [("x.wav", 1e-3), ("x.flac", 1e-3), ("x.m4a", 5e-3), ("x.mp3", 1e-3)])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.5), (0.25, 1.5), (4.1, 5.35), (5.5, None)])
def test_moment_of_a_sound_equals_that_part_of_the_whole(tmp_path, name, tolerance, start, stop):
    rng = np.random.default_rng(5)
    samples = np.cumsum(rng.normal(0, 0.02, 6 * 48_000)).astype(np.float32)
    samples -= np.convolve(samples, np.full(999, 1 / 999), mode="same").astype(np.float32)
    samples *= 0.5 / np.abs(samples).max()
    codec = {"m4a": ("mp4", "aac"), "mp3": ("mp3", "libmp3lame")}.get(name[2:])
    data = muxed(samples, 48_000, *codec) if codec else encoded(samples, 48_000, name[2:].upper())
    (tmp_path / name).write_bytes(data)
    whole = AudioReader(16_000)(tmp_path / name)
    part = AudioReader(16_000)(moment(tmp_path / name, start, stop))
    want = whole[round(start * 16_000) : None if stop is None else round(stop * 16_000)]
    assert len(part) == len(want)
    assert np.sqrt(np.mean((part - want) ** 2)) < tolerance  # a shift by one sample makes 7e-3
    assert len(AudioReader(16_000, seconds=0.25)(moment(tmp_path / name, start, stop))) == 4000


@pytest.mark.parametrize("name", ["x.wav", "x.m4a", "x.mp3"])
def test_moment_after_the_end_of_a_sound_is_refused(tmp_path, name):
    codec = {"m4a": ("mp4", "aac"), "mp3": ("mp3", "libmp3lame")}.get(name[2:])
    samples = tone(48_000, 3.0)
    (tmp_path / name).write_bytes(muxed(samples, 48_000, *codec) if codec else encoded(samples, 48_000))
    with pytest.raises(BadMedia, match=f"{name}#t=4,5.*ended before its window"):
        AudioReader(16_000)(moment(tmp_path / name, 4, 5))
    with pytest.raises(BadMedia, match="from 2 to 1 s is empty"):
        AudioReader(16_000)(moment(tmp_path / name, 2, 1))


def test_shorter_sound_is_not_padded():
    assert len(AudioReader(16_000, seconds=9.0)(encoded(tone(16_000), 16_000))) == 16_000


def test_float_overshoot_is_clipped_and_integers_called_floats_are_refused():
    loud = np.array([1.5, -2.0, 0.5], np.float32)
    assert AudioReader(8_000)(encoded(loud, 8_000, subtype="FLOAT")).tolist() == [1.0, -1.0, 0.5]
    with pytest.raises(BadMedia, match="full scale is 1"):
        AudioReader(8_000)(encoded(loud * 10_000, 8_000, subtype="FLOAT"))


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("ipod", "aac"), ("adts", "aac"), ("mp4", "aac"), ("webm", "libopus")],
)
def test_what_soundfile_cannot_read_goes_through_pyav(kind, codec):
    rate = 48_000
    source = tone(rate, 2.0)
    samples = AudioReader(16_000)(muxed(source, rate, kind, codec))
    assert len(samples) == pytest.approx(32_000, abs=1_500)  # an encoder pads to whole frames
    middle = samples[8_000:24_000]
    assert peak_hertz(middle, 16_000) == 440
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, abs=0.02)


def test_mp3_keeps_pitch_level_and_length():
    samples = AudioReader(16_000)(encoded(tone(48_000, 2.0), 48_000, "MP3", None))
    assert len(samples) == 32_000
    assert peak_hertz(samples[8_000:24_000], 16_000) == 440
    assert np.sqrt(2 * np.mean(samples[8_000:24_000] ** 2)) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_compressed_sound_is_in_step_with_the_original(kind, subtype):
    rate = 48_000
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, rate)
    smooth = np.convolve(noise, np.hanning(60) / 30, mode="same").astype(np.float32)
    samples = AudioReader(rate)(encoded(smooth, rate, kind, subtype))[:rate]
    assert np.corrcoef(samples, smooth[: len(samples)])[0, 1] > 0.95


def test_wrong_extension_decodes_by_content(tmp_path):
    (tmp_path / "a.mp3").write_bytes(encoded(tone(16_000), 16_000, "FLAC"))
    assert len(AudioReader(16_000)(tmp_path / "a.mp3")) == 16_000


def test_sound_inside_a_larger_file_reads_through_its_span(tmp_path):
    wav = encoded(tone(8_000), 8_000)
    (tmp_path / "shard.tar").write_bytes(b"x" * 512 + wav + b"y" * 512)
    ref = span(tmp_path / "shard.tar", "a.wav", offset=512, size=len(wav))
    np.testing.assert_array_equal(AudioReader(8_000)(ref), AudioReader(8_000)(wav))


def test_array_is_taken_as_having_the_rate():
    samples = tone(16_000).astype(np.float64)
    np.testing.assert_array_equal(AudioReader(16_000, seconds=0.5)(samples), samples[:8_000].astype(np.float32))
    with pytest.raises(BadMedia, match="int16"):
        AudioReader(16_000)(np.zeros(9, np.int16))


def test_sound_too_short_for_one_sample_is_refused():
    with pytest.raises(BadMedia, match="too short"):
        AudioReader(16_000)(encoded(tone(44_100)[:1], 44_100))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sample_that_is_not_finite_is_refused(value):
    samples = tone(8_000)
    samples[5_000] = value
    with pytest.raises(BadMedia, match="not finite"):
        AudioReader(8_000)(encoded(samples, 8_000, subtype="FLOAT"))
    with pytest.raises(BadMedia, match="not finite"):
        AudioReader(8_000)(samples)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")]
)
def test_truncated_sound_is_refused(tmp_path, kind, subtype):
    data = encoded(tone(16_000, 3.0), 16_000, kind, subtype)
    (tmp_path / "cut.snd").write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(BadMedia, match=r"cut\.snd: "):
        AudioReader(16_000)(tmp_path / "cut.snd")


def test_truncated_m4a_is_refused_whether_its_index_leads_or_trails():
    data = muxed(tone(48_000, 3.0), 48_000, "ipod", "aac")
    with pytest.raises(BadMedia):
        AudioReader(16_000)(data[: len(data) // 2])
    webm = muxed(tone(48_000, 3.0), 48_000, "webm", "libopus")
    with pytest.raises(BadMedia, match="truncated"):
        AudioReader(16_000)(webm[: len(webm) // 2])


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x7FFFFFFF])
def test_unknown_length_in_a_streamed_wav_is_no_length(claim):
    wav = bytearray(encoded(tone(16_000), 16_000))
    at = wav.index(b"data") + 4
    wav[at : at + 4] = struct.pack("<I", claim)
    assert len(AudioReader(16_000)(bytes(wav))) == 16_000


def test_header_that_claims_weeks_is_refused_quietly(capfd):
    flac = bytearray(encoded(tone(16_000), 16_000, "FLAC"))
    flac[21] |= 0x0F  # the upper bits of the 36-bit number of samples: 2^36 would be 256 GiB
    flac[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(BadMedia):
        AudioReader(16_000)(bytes(flac))
    assert capfd.readouterr().err == ""


def test_header_that_claims_gigabytes_allocates_nothing_by_its_word():
    wav = bytearray(encoded(np.stack([tone(16_000)] * 2, axis=1), 16_000))
    at = wav.index(b"data") + 4
    wav[at : at + 4] = struct.pack("<I", 0xFFFFFF00)
    tracemalloc.start()
    AudioReader(16_000)(bytes(wav))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_impossible_rate_is_refused():
    wav = bytearray(encoded(tone(16_000), 16_000))
    wav[24:28] = struct.pack("<I", 1)
    with pytest.raises(BadMedia, match="claims 1 samples per second"):
        AudioReader(16_000)(bytes(wav))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("text.wav", b"this is no sound, only words " * 9, "cannot be read: invalid data"),
        ("zero.ogg", b"", "is empty"),
        ("none.wav", encoded(np.zeros(0, np.float32), 8_000), "holds no samples"),
        ("list.m4a", b"ffconcat version 1.0\nfile none.wav\n", "cannot be read: invalid"),
    ],
)
def test_bad_file_is_refused_named_and_quietly(tmp_path, name, data, why, capfd):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadMedia, match=f"{name}: {why}"):
        AudioReader(16_000)(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_damaged_mp3_is_read_quietly(capfd):
    mp3 = encoded(tone(44_100, 3.0), 44_100, "MP3", None)
    AudioReader(16_000)(mp3[: len(mp3) // 2])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": 16_000, "seconds": 0.0}, {"rate": 16_000, "seconds": float("nan")}]
)
def test_reader_that_asks_for_nothing_is_refused(options):
    with pytest.raises(BadSpec):
        AudioReader(**options)


def test_waveform_shows_loud_and_quiet_halves():
    samples = np.concatenate([tone(8_000, level=0.1), tone(8_000, level=1.0)])
    inked = (thumbnail(samples, "audio", size=100)[:, :, 0] < 255).sum(axis=0)
    assert inked[:45].max() <= 14
    assert inked[55:].min() >= 96


@pytest.mark.data
@pytest.mark.parametrize(("pack", "seconds"), [("esc10", 5.0), ("fsdd", None), ("stamps", None), ("esc40", 5.0)])
def test_real_sounds_decode(pack, seconds):
    files = [file for file in sorted((DATA / pack).glob("*/*")) if file.suffix in (".ogg", ".flac")][::37]
    if not files:
        pytest.skip(f"no {pack} in {DATA}")
    for file in files:
        samples = AudioReader(16_000)(file)
        assert 0 < np.abs(samples).max() <= 1, file.name
        if seconds:
            assert 8_000 < len(samples) <= seconds * 16_000 + 160, file.name
