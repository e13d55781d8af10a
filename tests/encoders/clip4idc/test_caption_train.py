"""Stage two: it learns made pairs by heart, changed and unchanged, and its folder tells and ranks again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.pairs import write

from quiver.encoders._settings import changed
from quiver.encoders.clip4idc import caption_loss, speak
from quiver.encoders.clip4idc.caption_data import collect
from quiver.encoders.clip4idc.caption_model import CaptionModel
from quiver.encoders.clip4idc.caption_recipe import Captioning
from quiver.encoders.clip4idc.caption_train import batch_loss
from quiver.encoders.clip4idc.caption_validate import measured
from quiver.encoders.clip4idc.data import gather
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.train import PRESETS, train
from quiver.errors import BadSpec
from quiver.task import Question
from quiver.types import Item, Query

NOTHING = "nothing turned"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Many tiny steps: threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def with_unchanged(task):
    """Keep the pairs whose left square changes, and add the distractor of each as an unchanged pair."""
    items, questions = list(task.items)[:12], list(task.questions)[:24:2]
    same = []
    for item in items[:12]:
        media = {"before": item.media["before"], "after": item.meta["distractor"]}
        same.append(Item(f"{item.id}-same", media, {"change": "none"}))
    relevant = {item.id: 1 for item in same}
    questions.append(Question("same", Query({"text": NOTHING}, target="pair"), relevant))
    return replace(task, items=[*items, *same], questions=questions)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return with_unchanged(write(tmp_path_factory.mktemp("squares")))


def recipe(**changes):
    sizes = {"model.dim": 16, "model.vision.width": 32, "model.vision.intra": 0, "model.text.width": 32}
    sizes |= {"model.text.vocabulary": 200, "grid.rows": 4, "grid.columns": 4, "model.text.length": 16}
    sizes |= {"loop.device": "cpu", "loop.log_every": 100, "loop.save_every": 0, "loop.steps": 1}
    return changed(PRESETS["tiny"], sizes | changes)


def opened(out):
    return CaptionModel.open(out / "model" / "caption")


@pytest.fixture(scope="module", params=["clip4idc", "duda"])
def trained(request, squares, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    chosen = {"caption.generator": request.param, "caption.steps": 150, "caption.batch": 24, "model.dim": 32}
    if request.param == "duda":
        chosen |= {"caption.steps": 250, "caption.rate": 1e-2}
    return train(squares, squares, out, recipe=recipe(**chosen)), out


def memories(model, task, out):
    from quiver.encoders._patch.extract import Extractor, open
    from quiver.encoders.clip4idc.encoder import eyes

    look = eyes(model.config, open(Extractor.read(out / "model"), device="cpu", folder=out / "model"))
    read = [look.reader((item.media["before"], item.media["after"])) for item in task.items]
    with torch.inference_mode():
        return model.memory(look.given(read))


def test_it_learns_changed_and_unchanged_pairs_by_heart(trained, squares):
    outcome, out = trained
    model = opened(out)
    # 7.5 is right everywhere: "nothing turned" has no n-grams of three and four words, and gets 5 of 10
    assert outcome.figures["cider"] > (7 if model.pairs is not None else 4)
    memory = memories(model, squares, out)
    said = [model.text(one[0]) for one in model.tell(memory, beams=3)]
    assert said[12:] == [NOTHING] * 12
    own = [question.query.media["text"] for question in squares.questions[:12]]
    assert sum(text == right for text, right in zip(said, own, strict=False)) >= (12 if model.pairs is not None else 2)


def test_sentences_of_a_pair_are_likelier_after_it_than_after_others(trained, squares):
    _, out = trained
    model = opened(out)
    memory = memories(model, squares, out)[:12]
    ids = model.encode([question.query.media["text"] for question in squares.questions[:12]])
    with torch.inference_mode():
        scores = torch.stack([model.likelihood(model.writer.start(one.expand(12, *one.shape)), ids) for one in memory])
    right = torch.arange(12)
    ranked = scores - model.config.prior * model.prior(ids)
    found = [(scores.argmax(dim=0) == right), (ranked.argmax(dim=1) == right)]
    shares = [each.float().mean().item() for each in found]
    assert min(shares) > (0.9 if model.pairs is not None else 0.3), shares


def test_the_folder_is_a_whole_model_that_can_be_moved(trained, tmp_path):
    _, out = trained
    model = opened(out)
    model.save(tmp_path / "moved", model.config)
    again = CaptionModel.open(tmp_path / "moved")
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    config = json.loads((tmp_path / "moved" / "config.json").read_text(encoding="utf-8"))
    assert config["prior"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_the_space_is_that_of_stage_one_whatever_captioning_learns(squares, tmp_path):
    train(squares, None, tmp_path / "one", recipe=recipe())
    train(squares, None, tmp_path / "two", recipe=recipe(**{"caption.steps": 3}))
    first, second = (Clip4Idc.open(tmp_path / name / "model").state_dict() for name in ("one", "two"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    learnt = opened(tmp_path / "two").state_dict()
    assert any(not torch.equal(first[name], learnt[name]) for name in first if name.startswith("pairs."))


def test_a_factor_of_0_keeps_the_encoder_of_pairs(squares, tmp_path):
    train(squares, None, tmp_path, recipe=recipe(**{"caption.steps": 3, "caption.encoder": 0}))
    first, learnt = Clip4Idc.open(tmp_path / "model").state_dict(), opened(tmp_path).state_dict()
    assert all(torch.equal(first[name], learnt[name]) for name in first if name.startswith("pairs."))


def test_without_adaptation_captioning_starts_where_stage_one_started(squares, tmp_path):
    common = {"caption.steps": 1, "caption.encoder": 0, "loop.steps": 20}
    train(squares, None, tmp_path / "a", recipe=recipe(**common))
    train(squares, None, tmp_path / "b", recipe=recipe(**common, **{"caption.adapted": False}))
    train(squares, None, tmp_path / "c", recipe=recipe(**{**common, "loop.steps": 1, "caption.adapted": False}))
    adapted, fresh, other = (opened(tmp_path / name).state_dict()["pairs.joint"] for name in "abc")
    assert torch.equal(fresh, other)
    assert not torch.equal(fresh, adapted)


def test_a_stopped_run_ends_as_one_that_was_not(squares, tmp_path):
    steady = {"loop.schedule": "constant", "loop.validations": 0}
    whole = recipe(**{"caption.steps": 6, "caption.writer.dropout": 0.2, **steady})
    train(squares, None, tmp_path / "parts", recipe=changed(whole, {"caption.steps": 3}))
    train(squares, None, tmp_path / "parts", recipe=whole)
    train(squares, None, tmp_path / "once", recipe=whole)
    first, second = (opened(tmp_path / name).state_dict() for name in ("parts", "once"))
    for name, each in first.items():
        assert torch.equal(each, second[name]), name


def test_padding_alone_is_left_out_of_the_loss_even_where_its_id_is_a_word():
    class Fixed(torch.nn.Module):
        """Gives every word the same probability, 1 / 7."""

        writer = type("Ids", (), {"begin": 5, "end": 6, "pad": 0})

        def forward(self, pictures, ids):
            return torch.full((*ids.shape, 7), -np.log(7.0)), {}

    ids = torch.tensor([[5, 0, 3, 6, 0, 0], [5, 1, 6, 0, 0, 0]])  # 0 is a word of the first sentence
    assert speak.counted(Fixed.writer, ids).sum(dim=1).tolist() == [3, 2]
    batch = {"pictures": None, "ids": ids, "changed": torch.tensor([True, False])}
    assert batch_loss(Fixed(), batch, attention=0.0)["loss"].item() == pytest.approx(np.log(7))


def test_a_duda_of_pixels_that_a_network_does_not_read_is_refused():
    from quiver.encoders.clip4idc.caption_config import Telling, Words

    with pytest.raises(BadSpec, match="duda reads features of a frozen network"):
        Telling(words=Words(size=9, begin=1, end=2, pad=0, length=5), generator="duda")
    with pytest.raises(BadSpec, match="validate_on at least 2"):
        Captioning(validate_on=1)


def test_pairs_of_one_change_share_their_sentences(squares):
    captions = gather(squares)
    told = collect(captions, squares, None, encode=lambda texts: np.zeros((len(texts), 2), np.int64), end=0)
    assert told.changed.tolist() == [True] * 12 + [False] * 12
    assert [len(own) for own in told.texts] == [1] * 24
    assert told.references(20) == [NOTHING]
    assert (
        caption_loss.cross_entropy(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=int), torch.zeros(1, 1, dtype=bool))
        == 0
    )


def test_a_generator_that_sees_no_change_anywhere_is_not_the_best():
    changed = np.arange(12) % 2 == 0
    right = [
        [f"the {n} ball turned blue"] if each else [NOTHING] for n, each in zip("abcdefghijkl", changed, strict=True)
    ]
    half = [own[0] if place % 4 < 2 else "it turned" for place, own in enumerate(right)]  # half of each kind is right
    same, better = (measured(said, right, changed) for said in ([NOTHING] * 12, half))
    assert next(iter(same)) == next(iter(better)) == "balanced"  # the first figure selects
    assert same["balanced"] < better["balanced"] / 2
    assert same["different"] == 1 / 12
    assert next(iter(measured(half[::2], right[::2], changed[::2]))) == "cider"  # one kind has nothing to balance
