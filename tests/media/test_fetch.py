"""References: paths, URIs and spans lead to the right bytes, or say why not."""

import hashlib
import io
import os
import pickle
import sys
import tarfile
from pathlib import Path
from subprocess import run

import pytest

from quiver.errors import BadMedia
from quiver.media import (
    AudioReader,
    ImageReader,
    PairReader,
    TextReader,
    VideoReader,
    digest,
    fetch,
    kind,
    locate,
    moment,
    span,
    times,
)


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Path, dict[str, tuple[int, int]]]:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in {"a.txt": b"alpha", "b #1?.txt": b"beta" * 300}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        return path, {member.name: (member.offset_data, member.size) for member in tar}


def test_span_is_written_as_documented():
    assert span("x/shard.tar", "000001.jpg", offset=1536, size=7423) == "x/shard.tar?offset=1536&size=7423#000001.jpg"
    assert locate("x/shard.tar?offset=1536&size=7423#000001.jpg") == ("x/shard.tar", 1536, 7423)


def test_span_reads_one_member_of_a_tar(shard):
    path, members = shard
    for name, data in {"a.txt": b"alpha", "b #1?.txt": b"beta" * 300}.items():
        offset, size = members[name]
        ref = span(path, name, offset=offset, size=size)
        assert fetch(ref) == data
        assert kind(ref) == "text"


def test_span_without_a_size_goes_to_the_end(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"0123456789")
    assert fetch(span(tmp_path / "x.bin", "rest", offset=7)) == b"789"


def test_moment_is_the_file_with_seconds_behind_it(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"0123456789")
    ref = moment(tmp_path / "x.mp4", 1.25, 10)
    assert ref == f"{tmp_path}/x.mp4#t=1.25,10"
    assert times(ref) == (str(tmp_path / "x.mp4"), 1.25, 10.0)
    assert times("x.mp4#t=,2") == ("x.mp4", 0.0, 2.0)
    assert times("x.mp4#t=") == ("x.mp4#t=", 0.0, None)
    assert (fetch(ref), kind(ref), locate(ref)[0]) == (b"0123456789", "video", str(tmp_path / "x.mp4"))
    inside = moment(span(tmp_path / "x.mp4", "m.wav", offset=2, size=3), 4)
    assert (fetch(inside), kind(inside), times(inside)[1:]) == (b"234", "audio", (4.0, None))


def test_moments_of_one_file_have_digests_of_their_own(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"0123456789")
    refs = [tmp_path / "x.mp4", moment(tmp_path / "x.mp4", 1, 2), moment(tmp_path / "x.mp4", 1, 3)]
    assert len({digest([ref]) for ref in refs}) == 3
    assert digest([moment(tmp_path / "x.mp4", 1.0, 2.0)]) == digest([f"{tmp_path}/x.mp4#t=1,2"])
    assert digest([tmp_path / "x.mp4"]) == hashlib.sha256(b"0123456789").hexdigest()


@pytest.mark.parametrize(
    "name", ["x.mp4#t=1,2", "what?.bin", "no#1.bin", "x.tar?offset=3&size=2#m.jpg", "100%25.bin", "a b é.bin"]
)
def test_real_file_with_an_odd_name_opens_as_itself(tmp_path, name):
    if not name.isascii() and sys.getfilesystemencoding() != "utf-8":
        pytest.skip("files have no names of other languages here")
    (tmp_path / name).write_bytes(b"itself")
    assert fetch(tmp_path / name) == fetch(str(tmp_path / name)) == fetch((tmp_path / name).as_uri()) == b"itself"


def test_file_uri_of_a_span_reads_the_span(tmp_path):
    (tmp_path / "a b.tar").write_bytes(b"0123456789")
    assert fetch(span((tmp_path / "a b.tar").as_uri(), "m", offset=2, size=3)) == b"234"


def test_digest_is_sha256_of_the_bytes_in_order(tmp_path):
    big = bytes(range(256)) * 9000  # more than two blocks
    (tmp_path / "big").write_bytes(big)
    assert digest([tmp_path / "big"]) == hashlib.sha256(big).hexdigest()
    part = span(tmp_path / "big", "part", offset=1, size=5)
    assert digest([part, tmp_path / "big"]) == hashlib.sha256(big[1:6] + big).hexdigest()


@pytest.mark.parametrize(
    ("name", "want"),
    [("a.JPG", "image"), ("b/c.flac", "audio"), ("d.mkv", "video"), ("e.txt", "text"), ("f.pdf", None), ("jpg", None)],
)
def test_kind_follows_the_extension(name, want):
    assert kind(name) == kind(Path(name)) == want


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadMedia, match=r"gone\.jpg: .*no such file"):
        fetch(tmp_path / "gone.jpg")
    with pytest.raises(BadMedia, match=r"gone\.tar\?offset=1"):
        digest([span(tmp_path / "gone.tar", "m", offset=1)])


def test_directory_pipe_and_empty_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    with pytest.raises(BadMedia, match="directory"):
        fetch(tmp_path)
    with pytest.raises(BadMedia, match="pipe: is not a regular file"):
        fetch(tmp_path / "pipe")
    with pytest.raises(BadMedia, match="empty: is empty"):
        fetch(tmp_path / "empty")


@pytest.mark.parametrize(("offset", "size"), [(0, 11), (4, 7), (11, 1), (11, None), (0, 10**17), (3, 0)])
def test_span_outside_its_file_is_refused(tmp_path, offset, size):
    (tmp_path / "x").write_bytes(b"0123456789")
    ref = span(tmp_path / "x", "m", offset=offset, size=size)
    with pytest.raises(BadMedia, match="m: "):
        fetch(ref)
    with pytest.raises(BadMedia, match="m: "):
        digest([ref])


@pytest.mark.parametrize("uri", ["https://example.org/a.jpg", "s3://bucket/a.jpg", "file://elsewhere/a.jpg"])
def test_uri_of_another_machine_is_refused(uri):
    with pytest.raises(BadMedia, match="only local files"):
        fetch(uri)


def test_path_with_a_nul_is_refused():
    with pytest.raises(BadMedia, match="null byte"):
        fetch("a\0b")


@pytest.mark.parametrize(
    "reader",
    [
        ImageReader(224, shorter=256),
        AudioReader(16_000, seconds=2.0),
        VideoReader(4, ImageReader(64), start=0.5, stop=1.0),
        TextReader(),
        PairReader(ImageReader((3, 4), fit="pad")),
    ],
    ids=lambda reader: type(reader).__name__,
)
def test_reader_survives_pickling(reader):
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_importing_the_readers_imports_no_heavy_library():
    heavy = "{'torch', 'PIL', 'av', 'soundfile', 'soxr'}"
    code = f"import sys, quiver.media; print(sorted({heavy} & set(sys.modules)))"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
