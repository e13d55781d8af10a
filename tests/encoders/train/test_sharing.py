"""Work that ranks share: each piece once, by one of them, with equal results on all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from quiver.encoders._patch import extract as patch
from quiver.encoders._train.sharing import divided

#: What every rank runs: both kinds of extraction, with the pieces that this rank did.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
import torch.distributed as dist
from quiver.encoders._patch import extract as patch
from quiver.encoders._train import extract, feature, rank

feature.BLOCK = patch.BLOCK = 3
folder, pictures = Path(sys.argv[1]), sorted(map(str, Path(sys.argv[2]).iterdir()))
dist.init_process_group("gloo")
own = {"features": [], "patches": []}
block, compute = feature._block, patch._Kept._compute

def noted(kind, what, found):
    if not own[kind]:
        dist.barrier()  # each rank does a piece before either does a second: a slow one is not left without work
    own[kind].extend(what)
    return found

feature._block = lambda *given: noted("features", given[2], block(*given))
patch._Kept._compute = lambda *given: noted("patches", [given[1]], compute(*given))
rows, mask = extract("classic", "image", pictures, cache=folder / "features")
dist.barrier()
source = patch.open(patch.Extractor(features="pixels", side=2, rows=4, columns=4))
halves, seen = patch.extract(source, pictures, folder=folder / "patches", shape=(16, 12))
np.savez(folder / f"{dist.get_rank()}.npz", rows=rows, mask=mask, halves=halves, seen=seen)
print("OWN" + json.dumps(own))
dist.barrier()
rank.leave()
"""


@pytest.fixture
def pictures(photos: Path) -> Path:
    """A folder of 24 pictures, of which one cannot be decoded, and one is too small to be cut into patches."""
    from PIL import Image

    paths = sorted(photos.iterdir())
    paths[5].write_bytes(b"no picture at all")
    Image.new("RGB", (2, 2)).save(paths[7])
    return photos


def test_two_ranks_extract_disjoint_parts_and_end_with_equal_features(tmp_path, pictures):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "shared").mkdir()
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "MASTER_PORT": _port()}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "shared"), str(pictures)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=600) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    own = [json.loads(out.partition("OWN")[2]) for out, _ in said]
    for kind, count in (("features", 24), ("patches", 8)):
        parts = [set(each[kind]) for each in own]
        assert parts[0] and parts[1] and not parts[0] & parts[1] and len(parts[0] | parts[1]) == count
    first, second = (np.load(tmp_path / "shared" / f"{rank}.npz") for rank in range(2))
    for name in ("rows", "mask", "halves", "seen"):
        assert np.array_equal(first[name], second[name])
    assert np.flatnonzero(~first["mask"]).tolist() == [5] and np.flatnonzero(~first["seen"]).tolist() == [5, 7]
    refs = sorted(map(str, pictures.iterdir()))
    source = patch.open(patch.Extractor(features="pixels", side=2, rows=4, columns=4))
    alone, _ = patch.extract(source, refs, folder=tmp_path / "alone", shape=(16, 12))
    assert np.array_equal(alone, first["halves"])


def _port() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_a_piece_that_another_rank_holds_is_left_to_it_and_done_after_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    finished: set[int] = set()
    other = FileLock(tmp_path / "000001.lock")
    other.acquire()
    order = []
    for number in divided(3, done=finished.__contains__, work=finished.add, folder=tmp_path):
        order.append(number)
        if number == 2:
            other.release()  # the other rank has died without doing it
    assert order == [0, 2, 1] and finished == {0, 1, 2}


def test_patches_of_an_older_version_are_not_computed_again(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(patch, "BLOCK", 6)
    refs = sorted(map(str, pictures.iterdir()))
    source = patch.open(patch.Extractor(features="pixels", side=2, rows=4, columns=4))
    whole, mask = patch.extract(source, refs, folder=tmp_path / "whole", shape=(16, 12))
    (note,) = (tmp_path / "whole").glob("*.json")
    kept = json.loads(note.read_text())
    assert kept == {"done": 24, "bad": [5, 7]}
    # It noted how far it was in one file, and had no notes of blocks.
    older = tmp_path / "older"
    older.mkdir()
    rows = np.array(whole)
    rows[12:] = 0
    np.save(older / note.with_suffix(".npy").name, rows)
    (older / note.name).write_text(json.dumps({"done": 12, "bad": [5, 7]}))
    seen = []
    compute = patch._Kept._compute
    monkeypatch.setattr(patch._Kept, "_compute", lambda *given: (seen.append(given[1]), compute(*given)))
    again, bad = patch.extract(source, refs, folder=older, shape=(16, 12))
    assert seen == [2, 3] and np.array_equal(again, whole) and np.array_equal(bad, mask)
