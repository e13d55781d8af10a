"""Oscar is reached by its spec: it reads regions from files, stores them with items, and puts candidates in order."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import quiver
from quiver import registry
from quiver.encoders._pieces import Pieces
from quiver.encoders.fashionbert import oscar_encoder
from quiver.encoders.fashionbert.oscar import Config, Oscar
from quiver.encoders.fashionbert.region import box_terms
from quiver.encoders.oscar import save_regions
from quiver.errors import BadData, BadMedia, BadSpec, MissingWeights
from quiver.protocols import Encoder, Scorer, ScorerInput

TEXTS = ["a red dress", "blue", "a black sleeveless shirt that is long, very long indeed, and then some"]
TAGS = (["dress", "belt"], ["shirt"], ["hat", "hat", "shoe", "belt", "dress"])
MOST = 3


@pytest.fixture(scope="module")
def place(pieces, tmp_path_factory):
    """A folder with a model, three pictures and their regions: two, one and five, of which three are read."""
    folder = tmp_path_factory.mktemp("oscar")
    torch.manual_seed(0)
    model = Oscar(replace(Config.tiny(), vocabulary=len(pieces)))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.pieces = pieces
    model.save_pretrained(folder / "model")
    (folder / "regions").mkdir()
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number, (tags, count) in enumerate(zip(TAGS, (2, 1, 5), strict=True)):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / "pictures" / f"{number}.png")
        save_regions(
            folder / "regions" / (f"{number}.png.npz" if number else f"{number}.npz"),
            features=rng.normal(size=(count, 16)),
            boxes=np.array([[1, 2, 20, 30]] * count) + np.arange(count)[:, None],
            size=(40, 30),
            tags=tags,
        )
    return folder


@pytest.fixture(scope="module")
def pictures(place):
    return [str(place / "pictures" / f"{number}.png") for number in range(3)]


@pytest.fixture(scope="module")
def encoder(place):
    spec = f"oscar checkpoint='{place}/model' regions='{place}/regions' most={MOST} device=cpu precision=fp32"
    return registry.load("encoders", spec)


def margin(model: Oscar, pieces: Pieces, text: str, number: int, place) -> float:
    """What the whole model says of one pair, by its own forward."""
    with np.load(place / "regions" / (f"{number}.png.npz" if number else f"{number}.npz")) as held:
        boxes = box_terms(held["boxes"], width=40, height=30)
        regions = np.concatenate([held["features"], boxes], axis=1)[:MOST].astype(np.float32)
    ids, types = pieces.encode_pairs([text], [" ".join(TAGS[number])], limit=model.config.max_text)
    with torch.no_grad():
        given = torch.from_numpy(ids), torch.from_numpy(types), torch.from_numpy(regions)[None]
        logits = model(*given, torch.ones(1, len(regions), dtype=torch.bool)).logits[0]
    return float(logits[1] - logits[0])


def test_scores_are_the_margins_of_the_whole_model_in_both_directions(encoder, place, pictures, pieces):
    model = Oscar.open(place / "model")
    expected = np.array([[margin(model, pieces, text, number, place) for number in range(3)] for text in TEXTS])
    assert isinstance(encoder, Encoder)
    columns = {
        encoder.spaces(key)[0]: encoder.embed(
            key, [encoder.reader(key)(each) for each in media], encoder.spaces(key)[0]
        )
        for key, media in (("image", pictures), ("text", TEXTS))
    }
    forth, back = encoder.scorers
    assert isinstance(forth, Scorer) and (forth.holds, forth.finds, back.finds) == (("text",), "image", "text")
    held = forth.hold([ScorerInput(media={"text": (text,)}) for text in TEXTS])
    np.testing.assert_allclose(forth.score(held, columns), expected, atol=1e-4)
    held = back.hold([ScorerInput(media={"image": (picture,)}) for picture in pictures])
    np.testing.assert_allclose(back.score(held, columns), expected.T, atol=1e-4)
    stored = columns[encoder.spaces("image")[0]]
    example = back.hold([ScorerInput(media={}, examples={encoder.spaces("image")[0]: stored[1:2]})])
    np.testing.assert_allclose(back.score(example, columns), expected.T[1:2], atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_a_collection_stores_regions_and_sets_a_picture_without_them_apart(place, pictures, tmp_path):
    stray = tmp_path / "stray.png"
    Image.new("RGB", (8, 8)).save(stray)
    spec = f"oscar checkpoint='{place}/model' regions='{place}/regions' most={MOST} device=cpu precision=fp32"
    rows = [{"id": str(n), "image": each, "text": TEXTS[n % 3]} for n, each in enumerate([*pictures, str(stray)])]
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    report = shop.add(rows, encoder=spec, image="image", text="text", workers=0)
    assert report.quarantined == 1
    assert {space.name for space in registry.load("encoders", spec).features} == {"oscar/pieces", "oscar/regions"}
    assert sorted(item.id for item in shop.get(["0", "1", "2"])) == ["0", "1", "2"]


def test_a_picture_without_regions_is_set_apart_with_its_reason(encoder, place, tmp_path):
    stray = tmp_path / "stray.png"
    Image.new("RGB", (8, 8)).save(stray)
    read = encoder.reader("image")
    with pytest.raises(BadMedia, match=r"stray\.png: there are no regions of it: .*stray\.png\.npz is missing"):
        read(str(stray))
    harmed = place / "regions" / "harmed.npz"
    for content in (b"no archive", None):
        if content is None:
            np.savez(harmed, features=np.zeros((2, 9)), boxes=np.zeros((2, 4)), size=[4, 4], tags=["a"])
        else:
            harmed.write_bytes(content)
        with pytest.raises(BadMedia, match=r"harmed\.npz (holds no regions|has regions \(2, 9\))"):
            read("harmed.jpg")
    harmed.unlink()
    with pytest.raises(BadData, match=r"features \(R, F\), boxes \(R, 4\)"):
        save_regions(tmp_path / "x.npz", features=np.zeros((2, 4)), boxes=np.zeros((3, 4)), size=(1, 1), tags=[])


def published(folder, pieces, **changes):
    """Write a checkpoint as Oscar publishes it: names of BERT, a pickle of tensors, vocab.txt."""
    from transformers import BertConfig, BertModel

    folder.mkdir()
    config = {
        "vocab_size": len(pieces), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 24,
    }  # fmt: skip
    torch.manual_seed(1)
    state = {f"bert.{name}": each for name, each in BertModel(BertConfig(**config)).state_dict().items()}
    state |= {"bert.img_embedding.weight": torch.randn(32, 22), "bert.img_embedding.bias": torch.randn(32)}
    state |= {"classifier.weight": torch.randn(2, 32), "classifier.bias": torch.randn(2)}
    for name in changes.pop("without", ()):
        del state[name]
    torch.save(state, folder / "pytorch_model.bin")
    told = {**config, "img_feature_dim": 22, "use_img_layernorm": 0, "num_labels": 2, **changes}
    (folder / "config.json").write_text(json.dumps(told))
    vocabulary = sorted(pieces.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    (folder / "vocab.txt").write_text("\n".join(name for name, _ in vocabulary))
    return folder


def test_a_published_checkpoint_is_read_and_one_that_does_not_match_pairs_is_refused(pieces, place, tmp_path):
    made = oscar_encoder.open(published(tmp_path / "whole", pieces))
    assert (made.config.feature, made.config.norm, made.config.max_text) == (22, False, 24)
    assert len(made.pieces) == len(pieces)
    encoder = registry.load("encoders", f"oscar checkpoint='{tmp_path}/whole' regions='{place}/regions' device=cpu")
    assert encoder.keys == ("text", "image")
    bare = published(tmp_path / "bare", pieces, without=("classifier.weight", "classifier.bias"))
    with pytest.raises(MissingWeights, match=r"lacks classify.*: it was not fine-tuned to tell matching pairs"):
        oscar_encoder.open(bare)
    with pytest.raises(BadSpec, match=r"regions=.*absent: there is no such folder"):
        registry.load("encoders", f"oscar checkpoint='{tmp_path}/whole' regions='{tmp_path}/absent'")
