"""A written file appears whole or not at all; a failure is one line that names the path and leaves no draft."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from quiver import files
from quiver.errors import BadSpec, CannotWrite, QuiverError


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_json_bytes_and_arrays_are_written_with_their_folders(tmp_path):
    files.write_text(tmp_path / "a" / "t.txt", "ä\n")
    files.write_json(tmp_path / "a" / "j.json", {"ä": [1]})
    files.write_bytes(tmp_path / "a" / "b.bin", b"\0")
    files.write_arrays(tmp_path / "a" / "x.safetensors", {"x": np.arange(3)}, header={"k": "v"})
    assert (tmp_path / "a" / "t.txt").read_text("utf-8") == "ä\n"
    assert (tmp_path / "a" / "j.json").read_text("utf-8") == '{"ä": [1]}\n'
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\0"
    assert load_file(tmp_path / "a" / "x.safetensors")["x"].tolist() == [0, 1, 2]
    assert left(tmp_path / "a") == ["b.bin", "j.json", "t.txt", "x.safetensors"]


def test_half_a_character_is_written_as_an_escape(tmp_path):
    files.write_text(tmp_path / "t.txt", "a\udc80")
    assert (tmp_path / "t.txt").read_bytes() == b"a\\udc80"


def test_an_error_in_the_block_keeps_the_old_file_and_leaves_no_draft(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.staged(path) as draft:
        draft.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and left(tmp_path) == ["f.txt"]


def test_a_draft_keeps_the_suffix_and_a_long_name_fits(tmp_path):
    path = tmp_path / ("n" * 250 + ".png")
    with files.staged(path) as draft:
        assert draft.suffix == ".png"
        draft.write_text("x")
    assert left(tmp_path) == [path.name]


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "f.txt", "x")
        files.write_arrays(tmp_path / "f.safetensors", {"x": np.zeros(1)})
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in left(tmp_path)}
    assert modes == {"f.txt": 0o640, "f.safetensors": 0o640}


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    files.write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    code = "from pathlib import Path; from quiver import files; files.write_text(Path('/dev/stdout'), 'hello')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "hello"


def test_a_marked_folder_is_replaced_and_another_is_not(tmp_path):
    for text in ("one", "two"):
        with files.staged(tmp_path / "index", mark="header.json") as draft:
            draft.mkdir()
            (draft / "header.json").write_text(text)
    assert (tmp_path / "index" / "header.json").read_text() == "two" and left(tmp_path) == ["index"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("x")
    for mark in ("header.json", None):
        with pytest.raises(BadSpec, match="something else"), files.staged(tmp_path / "photos", mark=mark):
            pass
    assert (tmp_path / "photos" / "a.png").exists()


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(BadSpec, match="is a folder: name a file"):
        files.write_text(tmp_path, "x")


def test_a_file_above_the_path_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"cannot write .*file/f\.txt: File exists"):
        files.write_text(tmp_path / "file" / "f.txt", "x")


def test_a_missing_file_that_the_block_reads_is_no_failure_to_write(tmp_path):
    with pytest.raises(FileNotFoundError), files.staged(tmp_path / "f.txt"):
        (tmp_path / "other.txt").read_text()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device"),
        (RuntimeError("Error in write: 3 != 4 (No space left on device)"), "No space left on device"),
        (RuntimeError("LanceError(IO): failed: Read-only file system (os error 30)"), "Read-only file system"),
        (PermissionError(errno.EACCES, "x", "c/f.txt"), "Permission denied"),
    ],
)
def test_what_libraries_say_of_a_full_or_closed_disk_becomes_one_line(error, line):
    with pytest.raises(CannotWrite, match=f"^cannot write c/f.txt: {line}; ") as caught, files.writing("c/f.txt"):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), OSError("x"), QuiverError("x")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, files.writing("f.txt"):
        raise error
    assert caught.value is error


def test_a_file_that_outgrows_its_limit_leaves_the_old_one(tmp_path):
    """The nearest thing to a full disk that needs no mount: writes past 4 KiB fail (EFBIG)."""
    code = f"""
import resource, signal, numpy
from pathlib import Path
from quiver import files
from quiver.errors import CannotWrite
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))
folder = Path({str(tmp_path)!r})
def save(draft):
    draft.mkdir()
    numpy.save(draft / "x.npy", numpy.zeros(100_000))
for write in (
    lambda: files.write_text(folder / "f", "x" * 100_000),
    lambda: files.write_arrays(folder / "f", {{"x": numpy.zeros(100_000)}}),
    lambda: files.once(folder / "d", save),
):
    try:
        write()
    except CannotWrite as error:
        print(error)
"""
    (tmp_path / "f").write_text("old")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"cannot write {tmp_path / name}" for name in "ffd"]
    assert (tmp_path / "f").read_text() == "old" and left(tmp_path) == ["f"]
