"""CIRPLANT starts from a BERT or Oscar, and learns from the other pictures of a question's set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from quiver.encoders._settings import changed
from quiver.encoders.artemis import load, loss, start, train
from quiver.encoders.artemis.config import Bert, Config
from quiver.encoders.artemis.data import Lessons, Table, Tokens
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.triplet import gather, pictures
from quiver.encoders.artemis.word import Vocabulary
from quiver.errors import BadData, BadSpec, MissingWeights
from quiver.protocols import ScorerInput
from quiver.task import Question
from quiver.types import Query

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "same", "in", "as", "a", "red", "green", "blue"]
WORDS += ["yellow", "ellipse", "rectangle", "bar", "##s", "and"]
FEATURES = 14


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A BERT of two layers of 32 with random weights, as transformers saves it for pre-training."""
    from transformers import BertConfig, BertForPreTraining

    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(4)
        BertForPreTraining(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


@pytest.fixture
def sets(shelf):
    """The shelf's questions, each about a set of six pictures: an answer, two as good, one half right, two wrong."""
    names = [item.id for item in shelf.items]
    questions = []
    for number, question in enumerate(shelf.questions[:24]):
        (target,) = list(question.relevant)[:1]
        (held,) = question.query.like or question.exclude
        others = [name for name in names if name not in (target, held)]
        members = [target, *(others[(5 * number + step) % len(others)] for step in (0, 3, 7, 11, 16))]
        grades = dict(zip(members, (10, 10, 10, 5), strict=False))
        picture = next(item.media["image"] for item in shelf.items if item.id == held)
        query = Query({"image": picture, "text": question.query.media["text"]}, target="image")
        questions.append(Question(str(number), query, grades, exclude=(held,), candidates=tuple(members)))
    return replace(shelf, questions=questions)


def settings(bert, **changes):
    small = {
        "towers.image": "classic",
        "towers.bert": str(bert),
        "model.bert.layers": 2,
        "model.bert.length": 16,
        "device": "cpu",
    }
    small |= {"steps": 3, "batch": 8, "validations": 1, "precision": "fp32"}
    return changed(train.PRESETS["cirplant"], small | changes)


@pytest.mark.parametrize("form", ["pre-training", "bare", "old names", "tokenizer.json"])
def test_it_reads_words_and_computes_as_the_bert_it_starts_from(bert, tmp_path, form):
    from transformers import BertModel, BertTokenizerFast

    folder = tmp_path / "copy"
    folder.mkdir()
    for path in bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if form == "bare":
        BertModel.from_pretrained(bert).save_pretrained(folder)
    if form == "old names":
        state = load_file(bert / "model.safetensors")
        old = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta") for n in state
        }
        save_file({name: state[_new(name)] for name in old}, folder / "model.safetensors")
    if form == "tokenizer.json":
        BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(folder)
        (folder / "vocab.txt").unlink(missing_ok=True)
    config = start.sized(Config.tiny("cirplant", bert=Bert(layers=3, heads=2, length=16, dropout=0.0)), folder)
    assert (config.dim, config.bert.heads, config.bert.inner, config.pieces) == (32, 4, 48, True)
    model = Model(config).eval()
    start.fill(model, folder)
    text = "the same in RED bars and blorks"
    ids = Vocabulary.of(config).batch([[text]])
    theirs = BertTokenizerFast(str(bert / "vocab.txt"))(text)["input_ids"]
    assert ids[0].tolist() == theirs
    network = BertModel.from_pretrained(bert).eval()
    picture = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))
    # The picture stands last, without position and segment: transformers adds them and a norm, so it is fed as it is.
    words = network.embeddings(ids)
    with torch.no_grad():
        joined = torch.cat([words, picture], dim=1)
        expected = network.encoder(joined).last_hidden_state
        found = model.composer.sequence(picture[:, 0], ids)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def _new(name: str) -> str:
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def test_of_oscar_the_layer_of_regions_is_taken_too(bert, tmp_path):
    state = load_file(bert / "model.safetensors")
    state["bert.img_embedding.weight"] = torch.randn(32, FEATURES + 6)
    state["bert.img_embedding.bias"] = torch.randn(32)
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((bert / name).read_bytes())
    torch.save(state, tmp_path / "pytorch_model.bin")  # as Oscar is published
    config = start.sized(
        Config.tiny("cirplant", image=f"features:{FEATURES}", bert=Bert(layers=2, heads=2, length=9)), tmp_path
    )
    model = Model(config)
    start.fill(model, tmp_path)
    assert torch.equal(model.image.project.weight, state["bert.img_embedding.weight"][:, :FEATURES])
    assert torch.equal(
        model.composer.layers.layers[1].linear1.bias, state["bert.encoder.layer.1.intermediate.dense.bias"]
    )


@pytest.mark.parametrize(
    ("harm", "error", "says"),
    [
        ({"model.bert.layers": 9}, BadSpec, r"model.bert.layers=9: the BERT of .* has 3"),
        ({"model.bert.length": 99}, BadSpec, r"model.bert.length=99: the BERT of .* has 24"),
        ({"towers.bert": "absent"}, MissingWeights, "absent"),
    ],
)
def test_a_bert_that_does_not_fit_is_refused(bert, sets, tmp_path, harm, error, says):
    with pytest.raises(error, match=says):
        train.train(sets, None, tmp_path, recipe=settings(bert, **harm))


def test_the_preset_is_the_papers():
    paper = train.PRESETS["cirplant"]
    assert (paper.loop.rate, paper.loop.decay, paper.loop.clip, paper.loop.batch) == (1e-5, 0.05, 1.0, 32)
    assert (paper.loop.optimiser, paper.model.objective, paper.model.triplets, paper.model.scale) == (
        "adamw",
        "triplet",
        6,
        4.0,
    )
    assert paper.towers.image == "timm model=resnet152.tv_in1k" and paper.data.in_set == "positives"
    assert (paper.model.dim, paper.model.bert) == (768, Bert())
    assert paper.loop.steps == 300 * 529


def test_it_trains_from_the_bert_and_is_used(bert, sets, tmp_path):
    before = load_file(bert / "model.safetensors")["bert.encoder.layer.0.attention.output.dense.weight"]
    outcome = train.train(sets, sets, tmp_path, recipe=settings(bert))
    assert outcome.step == 3
    learnt = load_file(tmp_path / "model/model.safetensors")["composer.layers.layers.0.self_attn.out_proj.weight"]
    assert 0 < (learnt - before).abs().max() <= 4 * 3e-5  # three steps at 1e-5 from the checkpoint
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["pieces"] and config["words"] == WORDS and (config["dim"], config["bert"]["layers"]) == (32, 2)
    encoder = load(checkpoint=tmp_path / "model", device="cpu")
    picture = sets.items[0].media["image"]
    held = encoder.scorers[0].hold([ScorerInput(media={"image": (picture,), "text": ("the same in red",)})])
    space = encoder.spaces("image")[0]
    rows = encoder.embed("image", [encoder.reader("image")(item.media["image"]) for item in sets.items], space)
    assert np.isfinite(encoder.scorers[0].score(held, {space: rows})).all()


def test_members_of_the_set_are_answers_negatives_or_take_no_part(sets):
    triplets = gather(sets).best()
    rows = np.arange(len(triplets))
    target = triplets.draw(rows, np.random.default_rng(0))
    for wrong in (False, True):
        places, labels = triplets.members(rows, target, wrong=wrong)
        assert places.shape == labels.shape == (24, 5)
        for row in rows:
            ids = [sets.items[place].id for place in places[row]]
            question = sets.questions[row]
            grades = [question.relevant.get(id, 0) for id in ids]
            expected = [1 if grade == 10 else 0 if grade or not wrong else -1 for grade in grades]
            assert labels[row].tolist() == expected and sorted([*ids, sets.items[target[row]].id]) == sorted(
                question.candidates
            )
    assert (triplets.grade == 10).all()


def test_they_enter_the_loss_of_their_own_query_alone(sets):
    triplets = gather(sets).best()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(pictures(sets)), 12)).astype(np.float32)
    config = Config.tiny("cirplant", objective="triplet")
    lessons = Lessons(triplets, Table.plain(features), Tokens(Vocabulary.of(config), triplets.wishes), in_set="both")
    batch = lessons.fetch(np.array([0, 1, 2]), np.random.default_rng(1))
    assert batch["members"].shape == (3, 5, 12)
    right, wrong = loss.with_members(
        *loss.pairs(3, both=False, same_BB=batch["same"], device=torch.device("cpu")), batch["labels"]
    )
    assert right.shape == (3, 21)
    for row in range(3):
        own = slice(6 + 5 * row, 11 + 5 * row)
        assert torch.equal(right[row, own], batch["labels"][row] == 1)
        assert torch.equal(wrong[row, own], batch["labels"][row] == -1)
        assert right[row, 6:].sum() == right[row, own].sum() == 2 and wrong[row, 6:].sum() == wrong[row, own].sum() == 2
        assert right[row, 3 + row]  # its target
    model = Model(config).train()
    torch.manual_seed(0)
    value = model(batch)["loss"]
    value.backward()
    assert torch.isfinite(value) and model.image.project.weight.grad.abs().sum() > 0


def test_the_official_triplets_are_those_of_in_set_positives(golden):
    numbers = golden("cirplant")
    labels = (numbers["in/soft_labels_nan_is_absent"] == 1.0).to(torch.int8)
    wrong = torch.cat([~torch.eye(5, dtype=torch.bool)] * 2, dim=1)
    right, wrong = loss.with_members(torch.zeros(5, 10, dtype=torch.bool), wrong, labels)
    ours = {tuple(row) for row in loss.triplets(right, wrong).tolist()}
    theirs = {tuple(row) for row in numbers["out/legal_triplets_before_cut_to_6"].tolist()}
    assert theirs < ours and len(ours - theirs) == 2  # which its filter drops by mistake


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"data.in_set": "some"}, "data.in_set must be"),
        ({"model.objective": "batch"}, "data.in_set is for model.objective=triplet"),
        ({"model.composer": "tirg"}, "towers.bert is for model.composer=cirplant"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(bert, wrong, says):
    with pytest.raises(BadSpec, match=says):
        settings(bert, **wrong)


def test_questions_without_sets_are_refused(bert, shelf, tmp_path):
    with pytest.raises(BadSpec, match=r"data.in_set needs questions with 2 to 33 candidates.*those of shelf have none"):
        train.train(shelf, None, tmp_path, recipe=settings(bert))


def test_a_vocabulary_of_another_kind_is_refused(bert, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}))
    with pytest.raises(BadData, match="no word pieces of BERT"):
        start.vocabulary(tmp_path)
    with pytest.raises(MissingWeights, match="its word pieces are missing"):
        start.vocabulary(tmp_path / "nowhere")
