"""The caption generator as a capability: it tells, its likelihood ranks both ways, and the engine uses it."""

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.pairs import write
from tests.encoders.clip4idc.test_caption_train import recipe, with_unchanged

from quiver import registry
from quiver.encoders.clip4idc.train import train
from quiver.errors import BadSpec
from quiver.protocols import Scorer, ScorerInput, Teller


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return with_unchanged(write(tmp_path_factory.mktemp("squares")))


@pytest.fixture(scope="module")
def folder(squares, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    train(squares, squares, out, recipe=recipe(**{"caption.steps": 12, "caption.batch": 24, "loop.validations": 0}))
    return out / "model"


@pytest.fixture(scope="module")
def encoder(folder):
    return registry.load("encoders", f"clip4idc checkpoint={folder} device=cpu rerank=true")


def both(item):
    return item.media["before"], item.media["after"]


@pytest.fixture(scope="module")
def columns(encoder, squares):
    read = {"pair": encoder.reader("pair"), "text": encoder.reader("text")}
    given = {"pair": [both(item) for item in squares.items[:5]]}
    given["text"] = [question.query.media["text"] for question in squares.questions[:4]]
    return {key: encoder.embed(key, [read[key](each) for each in given[key]], encoder.spaces(key)[1]) for key in given}


def test_the_teller_describes_pairs_alike_alone_and_together(encoder, squares):
    (teller,) = encoder.tellers
    assert isinstance(teller, Teller) and teller.keys == ("pair",)
    read = [teller.reader("pair")(both(item)) for item in squares.items[:5]]
    told = teller.tell("pair", read, beams=4, most=3)
    assert [len(each) for each in told] == [3] * 5
    for each in told:
        scores = [one.score for one in each]
        assert scores == sorted(scores, reverse=True) and scores[0] <= 0
        assert len({one.text for one in each}) == 3
    alone = [teller.tell("pair", [one], beams=4, most=3)[0] for one in read]
    assert [[one.text for one in each] for each in alone] == [[one.text for one in each] for each in told]
    with pytest.raises(BadSpec, match="most must be from 1 to beams=2, not 3"):
        teller.tell("pair", read, beams=2, most=3)
    with pytest.raises(BadSpec, match="describes pairs, not image"):
        teller.reader("image")


def test_without_captioning_there_is_no_teller_and_nothing_to_rerank_with(squares, tmp_path):
    train(squares, None, tmp_path, recipe=recipe())
    spec = f"clip4idc checkpoint={tmp_path / 'model'} device=cpu"
    assert registry.load("encoders", spec).tellers == ()
    with pytest.raises(BadSpec, match=r"has no caption generator: train it with caption\.steps"):
        registry.load("encoders", f"{spec} rerank=true")


def test_scores_are_mean_log_probabilities_of_the_teller_both_ways(encoder, columns, squares):
    pairs, texts = encoder.scorers
    assert all(isinstance(each, Scorer) for each in encoder.scorers)
    assert (pairs.finds, pairs.holds, texts.finds, texts.holds) == ("pair", ("text",), "text", ("before", "after"))
    said = [question.query.media["text"] for question in squares.questions[:4]]
    forth = pairs.score(pairs.hold([ScorerInput({"text": [text]}) for text in said]), {pairs.reads[0]: columns["pair"]})
    shown = [
        ScorerInput({"before": [item.media["before"]], "after": [item.media["after"]]}) for item in squares.items[:5]
    ]
    held = texts.hold(shown)
    terms = texts.terms(held, {texts.reads[0]: columns["text"]})
    back = texts.score(held, {texts.reads[0]: columns["text"]})
    assert forth.shape == (4, 5) and back.shape == (5, 4)
    np.testing.assert_allclose(terms["likelihood"], forth.T, atol=1e-4)
    np.testing.assert_allclose(back, terms["likelihood"] + terms["prior"], atol=1e-5)
    model = pairs.shelf.model
    with torch.inference_mode():
        memory = torch.from_numpy(columns["pair"][3]).unflatten(0, model.mean.shape)[None]
        alone = model.likelihood(model.writer.start(memory), model.encode(said[2:3]))
    assert forth[2, 3] == pytest.approx(alone.item(), abs=1e-4)


def test_no_score_depends_on_other_queries_or_candidates(encoder, columns, squares):
    pairs, texts = encoder.scorers
    held = pairs.hold([ScorerInput({"text": [q.query.media["text"]]}) for q in squares.questions[:4]])
    whole = pairs.score(held, {pairs.reads[0]: columns["pair"]})
    for row in range(4):
        own = {"text": held["text"][row : row + 1]}
        for place in range(5):
            part = pairs.score(own, {pairs.reads[0]: columns["pair"][place : place + 1]})
            assert part[0, 0] == pytest.approx(whole[row, place], abs=1e-4)
    assert pairs.score(held, {pairs.reads[0]: columns["pair"][:0]}).shape == (4, 0)
    empty = texts.score({"pair": columns["pair"]}, {texts.reads[0]: columns["text"][:0]})
    assert empty.shape == (5, 0)


def test_a_query_that_is_no_pair_or_several_is_refused(encoder, squares):
    pairs, texts = encoder.scorers
    before, after = both(squares.items[0])
    with pytest.raises(BadSpec, match="both pictures of a pair"):
        texts.hold([ScorerInput({"before": [before]})])
    with pytest.raises(BadSpec, match="one pair at a time, not 2"):
        texts.hold([ScorerInput({"before": [before, before], "after": [after, after]})])
    with pytest.raises(BadSpec, match="one text at a time, not 0"):
        pairs.hold([ScorerInput({})])


def test_a_collection_captions_its_pairs_and_reranks_by_likelihood(folder, squares, tmp_path):
    import quiver

    rows = [{"id": item.id, **item.media} for item in squares.items[:8]]
    shop = quiver.open(tmp_path / "shop")
    shop.add(rows, encoder=f"clip4idc checkpoint={folder} device=cpu rerank=true")
    assert shop.caption(rows[0]["id"])[0].text
    found = shop.search(text=squares.questions[0].query.media["text"], target="pair", k=3, scorer="clip4idc_caption")
    assert len(found) == 3
