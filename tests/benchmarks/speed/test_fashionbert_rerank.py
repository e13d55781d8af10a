"""Every shortcut of reranking gives the plain margins, and the table says how near."""

from dataclasses import replace

import numpy as np
import pytest

from quiver.benchmarks.speed.fashionbert_rerank import made, measure, ways
from quiver.encoders.fashionbert.config import Config

CONFIG = replace(Config.tiny(), vocabulary=200, max_text=20)


@pytest.fixture(scope="module")
def given():
    return made(CONFIG, texts=5, candidates=4, seed=0)


def test_every_shortcut_but_bfloat16_gives_the_plain_margins(given):
    plain, *others, low = (call() for call in ways(*given).values())
    assert plain.shape == (20,)
    assert len(others) == 4
    for found in others:
        np.testing.assert_allclose(found, plain, atol=1e-6)
    np.testing.assert_allclose(low, plain, atol=0.1 * np.abs(plain).max() + 1e-3)


def test_the_table_holds_each_way_against_the_plain_one(given):
    plain, *rest = measure(*given, repeats=1)
    assert (plain.times, plain.difference, plain.first) == (1, 0, 1)
    assert all(line.pairs_s == pytest.approx(plain.pairs_s * line.times) for line in rest)
    assert [line.way[0] for line in rest] == ["+"] * 5
