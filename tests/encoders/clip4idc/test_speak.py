"""Greedy and beam search, and likelihood, for every generator, against an enumeration of all sentences."""

import itertools

import pytest
import torch

from quiver.encoders.clip4idc import speak
from quiver.encoders.clip4idc.caption import Captioner
from quiver.encoders.clip4idc.caption_config import Duda as DudaConfig
from quiver.encoders.clip4idc.caption_config import Words, Writer
from quiver.encoders.clip4idc.duda import Duda

WORDS = Words(size=6, begin=1, end=2, pad=0, length=8)
MOST = 3


@pytest.fixture(autouse=True)
def one_thread():
    """Many tiny steps: threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sharpened(model, seed):
    """Give a model random weights so large that its words differ much in probability."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * (0.9 if weight.ndim > 1 else 0.3)
    return model.eval()


def transformer():
    return sharpened(Captioner(Writer(width=8, heads=2, inner=12, layers=2, dropout=0.0), WORDS, 8), 3)


def dynamic():
    return sharpened(Duda(DudaConfig(dim=8, groups=2, embed=6, hidden=7, word=5, dropout=0.0), WORDS, 4), 4)


def memory(model, batch=3):
    shape = (batch, 5, 8) if isinstance(model, Captioner) else (batch, 2, 4, 3, 2)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


MODELS = pytest.mark.parametrize("make", [transformer, dynamic])


def ids(sentences, length=MOST + 2):
    rows = [[1, *words, 2] for words in sentences]
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


@torch.no_grad()
def everything(model, given):
    """Return every sentence of at most MOST words, and log p of each for each memory: (B, sentences)."""
    sentences = [each for n in range(1, MOST + 1) for each in itertools.product((3, 4, 5), repeat=n)]
    rows = ids(sentences)
    found = []
    for one in given:
        state = model.start(one.expand(len(sentences), *one.shape))
        found.append(speak.likelihood(model, state, rows)[0])
    return sentences, torch.stack(found)


@MODELS
def test_likelihood_is_the_sum_of_the_steps(make):
    model = make()
    given = memory(model, 2)
    rows = ids([(3, 4), (5, 5, 3)])
    with torch.no_grad():
        total, count = speak.likelihood(model, model.start(given), rows)
        state, sums = model.start(given), torch.zeros(2)
        for place in range(MOST + 1):
            logp, state = model.step(state, rows[:, place])
            real = rows[:, place + 1] != 0
            sums += torch.where(real, logp.gather(1, rows[:, place + 1, None])[:, 0], 0)
    assert count.tolist() == [3, 4]
    torch.testing.assert_close(total, sums, atol=1e-5, rtol=1e-5)


@MODELS
def test_one_beam_is_greedy_search(make):
    model = make()
    given = memory(model, 6)
    with torch.no_grad():
        best = speak.greedy(model, given, most=5)
        beams = speak.beam(model, given, beams=1, most=5)
    assert [each.ids for (each,) in beams] == [each.ids for each in best]
    assert [each.score for (each,) in beams] == pytest.approx([each.score for each in best], abs=1e-5)


@MODELS
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_enough_for_every_sentence_find_the_best_of_all(make, penalty):
    model = make()
    given = memory(model)
    sentences, logp = everything(model, given)
    length = torch.tensor([len(each) + 1 for each in sentences])
    scores = logp / length**penalty
    with torch.no_grad():
        found = speak.beam(model, given, beams=60, most=MOST, penalty=penalty)
    for row, told in enumerate(found):
        order = scores[row].argsort(descending=True)
        assert [each.ids for each in told] == [sentences[place] for place in order]
        assert [each.score for each in told] == pytest.approx(scores[row][order].tolist(), abs=1e-4)
        assert [each.logp for each in told] == pytest.approx(logp[row][order].tolist(), abs=1e-4)
        if penalty == 1:
            assert [each.mean for each in told] == pytest.approx([each.score for each in told])


@MODELS
def test_more_beams_never_find_a_less_probable_sentence_here(make):
    model = make()
    given = memory(model, 4)
    with torch.no_grad():
        scores = [[each[0].score for each in speak.beam(model, given, beams=n, most=MOST)] for n in (1, 60)]
    assert all(wide >= narrow - 1e-5 for narrow, wide in zip(*scores, strict=True))


@MODELS
def test_a_pair_is_told_alike_alone_and_in_a_batch(make):
    model = make()
    given = memory(model, 4)
    with torch.no_grad():
        together = speak.beam(model, given, beams=3, most=4, penalty=0.5)
        alone = [speak.beam(model, given[n : n + 1], beams=3, most=4, penalty=0.5)[0] for n in range(4)]
    assert [[each.ids for each in one] for one in together] == [[each.ids for each in one] for one in alone]


@MODELS
def test_sentences_have_words_and_neither_begin_nor_end_nor_padding(make):
    model = make()
    with torch.no_grad():
        found = speak.beam(model, memory(model, 5), beams=4, most=2)
    assert all(1 <= len(each.ids) <= 2 and {0, 1, 2}.isdisjoint(each.ids) for one in found for each in one)
    assert all(len({each.ids for each in one}) == len(one) for one in found)


def test_a_longer_sentence_wins_by_a_larger_penalty():
    model = transformer()
    given = memory(model, 8)
    with torch.no_grad():
        lengths = [
            sum(len(one[0].ids) for one in speak.beam(model, given, beams=60, most=MOST, penalty=penalty))
            for penalty in (0.0, 1.0, 3.0)
        ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[2]
