"""What is built depends on size, width, memory and change; what is too large is refused beforehand."""

import pytest

from quiver.engine.statistics.cost_model import Cost, Machine
from quiver.engine.tuning import index_choice
from quiver.engine.tuning.index_choice import admit, choose, parse
from quiver.errors import BadSpec
from quiver.types import Space

MACHINE = Machine(scan=Cost(0.06, 0.006), exact=Cost(0.3, 0.02))
GB = 10**9


def space(dim):
    return Space("made", dim, "cosine", "given")


def chosen(rows, dim, **how):
    return str(choose(space(dim), rows, machine=MACHINE, **{"memory": 16 * GB, **how}))


def test_what_is_scanned_at_once_stays_exact():
    assert chosen(5_000, 512) == "exact"
    slow = Machine(scan=Cost(10.0, 1.0))
    assert str(choose(space(512), 5_000, machine=slow, memory=16 * GB)) != "exact"


def test_lists_of_codes_where_memory_holds_the_vectors():
    assert chosen(200_000, 96) == "faiss factory=IVF447,PQ48x4fs,RFlat train=57216"
    assert chosen(1_000_000, 512) == "faiss factory=IVF1000,PQ128x4fs,RFlat train=128000"


def test_a_graph_where_no_codes_can_be_made_memory_allows_links_and_little_changes():
    assert chosen(200_000, 257) == "faiss factory=HNSW32"
    assert chosen(200_000, 257, updates="often").startswith("faiss factory=IVF447,SQ8,RFlat")
    assert chosen(1_000_000, 257).startswith("faiss factory=IVF1000,SQ8,RFlat")


def test_what_memory_does_not_hold_is_searched_on_disk():
    assert chosen(1_000_000, 512, memory=GB) == "lance kind=IVF_RQ"
    assert chosen(1_000_000, 300, memory=GB) == "lance kind=IVF_PQ"


def test_lists_have_128_vectors_each_to_train_on():
    assert (index_choice._lists(6_400), index_choice._lists(1_000_000)) == (50, 1000)


def test_codes_take_half_a_byte_for_two_numbers_or_four_where_the_width_parts():
    assert [index_choice._parts(dim) for dim in (128, 300, 784, 97)] == [64, 75, 196, 0]


def test_what_is_too_large_is_refused_with_what_would_fit():
    with pytest.raises(BadSpec) as refused:
        admit(space(512), 1_000_000, "faiss", {"factory": "HNSW32"}, memory=GB, machine=MACHINE)
    text = str(refused.value)
    assert text.startswith(
        "faiss factory=HNSW32 of 1,000,000 vectors of 512 takes about 5.6 GB while it is built and 4.92 GB to serve,"
    )
    assert "1 GB of memory are allowed: lance kind=IVF_RQ would fit, with" in text


def test_what_nothing_fits_into_is_said():
    with pytest.raises(
        BadSpec, match="10 MB of memory are too little for any index of 1,000,000 vectors of 512: lance"
    ):
        chosen(1_000_000, 512, memory=10**7)


@pytest.mark.parametrize(("text", "amount"), [("8GB", 8 * GB), ("0.5 gib", 2**29), ("12", 12), ("3 kB", 3000)])
def test_memory_is_read_as_people_write_it(text, amount):
    assert parse(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "8 apples", "-"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(BadSpec, match="8GB or 500MiB"):
        parse(text)
