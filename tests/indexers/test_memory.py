"""What an index is said to take is what it takes."""

import subprocess
import sys

import numpy as np
import pytest

from quiver.indexers import faiss
from quiver.types import Space, Vectors

#: Prints bytes held by the built index and the most that building took beyond the vectors, as the system counts.
MEASURE = """
import resource, sys, threading, time
import numpy as np
from quiver.indexers import faiss
from quiver.types import Space, Vectors

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

rows, dim, factory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
data = np.random.default_rng(0).standard_normal((rows, dim), dtype=np.float32)
vectors = Vectors(Space("made", dim, "l2", "0"), np.arange(rows), data)
faiss.build(Vectors(vectors.space, vectors.rows[:100], data[:100]), factory="Flat").search(data[:1], 1)
before, most, done = resident(), 0, threading.Event()

def watch():
    global most
    while not done.is_set():
        most = max(most, resident())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
index = faiss.build(vectors, factory=factory, train=40_000)
done.set()
watcher.join()
print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "factory",
    [
        pytest.param("HNSW16", marks=pytest.mark.slow),
        pytest.param("IVF128,PQ64x4fs,RFlat", marks=pytest.mark.slow),
        "IVF128,SQ8",
        "Flat",
    ],
)
def test_building_takes_what_was_estimated(factory):
    rows, dim = 60_000, 128
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(rows), str(dim), factory], capture_output=True, text=True, check=True
    )
    estimate = faiss.memory(Space("made", dim, "l2", "0"), rows, factory=factory, train=40_000).build
    assert 0.7 < estimate / int(done.stdout) < 1.3


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF64,Flat", "IVF64,PQ8x4fs,RFlat", "PCA16,IVF64,SQ8", "SQ8"])
def test_a_written_index_is_as_large_as_was_estimated(factory):
    rows, dim = 8_000, 32
    data = np.random.default_rng(1).standard_normal((rows, dim), dtype=np.float32)
    space = Space("made", dim, "l2", "0")
    index = faiss.build(Vectors(space, np.arange(rows), data), factory=factory)
    held = faiss.memory(space, rows, factory=factory).held
    assert 0.85 < held / (index.nbytes - index.rows.nbytes) < 1.3
