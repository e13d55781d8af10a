"""Pairs that belong together, and pairs that never do."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from quiver import registry
from quiver.encoders._patch.extract import Extractor, extract, open
from quiver.encoders.fashionbert.data import Lessons, Negatives, gather, mine
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query

KINDS = ("dress", "dress", "dress", "jeans", "jeans", "belts")
TEXTS = ("a red dress", "a red dress", "a blue dress", "blue jeans", "black jeans", "a black belts")


def shop(texts=TEXTS, kinds=KINDS, pictures=None) -> Task:
    refs = pictures or [f"{number}.jpg" for number in range(len(texts))]
    items = [
        Item(f"i{number}", {"image": refs[number]}, {"sub_category": kinds[number], "colour": f"c{number}"})
        for number in range(len(texts))
    ]
    questions = [
        Question(f"q{number}", Query({"text": text}, target="image"), {f"i{number}": 1})
        for number, text in enumerate(texts)
    ]
    return Task("shop", "0", items, questions, ("Success@1",), "image", "", "")


def test_equal_words_belong_to_each_others_pictures():
    pairs = gather(shop())
    assert pairs.texts == ("a red dress", "a blue dress", "blue jeans", "black jeans", "a black belts")
    assert pairs.rows.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert pairs.right[0] == {0, 1}
    assert pairs.kinds.tolist() == [0, 0, 0, 1, 1, 2]


def test_fields_make_a_second_pair_of_every_picture_and_no_new_negative():
    pairs = gather(shop(), fields="sub_category,colour")
    assert len(pairs) == 12
    more = pairs.texts.index("a red dress dress c1")
    assert [picture for text, picture in pairs.rows.tolist() if text == more] == [1]
    assert pairs.right[more] == {0, 1}


def test_what_is_not_there_is_named():
    with pytest.raises(BadSpec, match="'price'"):
        gather(shop(), fields="price")
    with pytest.raises(BadSpec, match="category=shelf: no item has that in its meta; there are colour, sub_category"):
        gather(shop(), kind="shelf")
    with pytest.raises(BadData, match="every text belongs to every picture"):
        Negatives.of(gather(shop(["a dress"] * 6)), "batch")


@pytest.mark.parametrize("ways", ["category", "batch", "category+batch"])
def test_negatives_never_belong_together_and_keep_one_side(ways):
    pairs = gather(shop())
    negatives, rng = Negatives.of(pairs, ways), np.random.default_rng(0)
    rows = np.arange(6)
    kept = np.zeros(2, int)
    for _ in range(50):
        drawn = negatives.draw(rows, rng)
        assert all(picture not in pairs.right[text] for text, picture in drawn)
        same = drawn == pairs.rows
        assert (same.sum(axis=1) == 1).all()
        kept += same.sum(axis=0)
    assert kept.min() > 100  # of 300: texts and pictures are swapped alike


def test_category_negatives_share_the_sub_category_where_it_has_another_product():
    pairs = gather(shop())
    negatives, rng = Negatives.of(pairs, "category"), np.random.default_rng(0)
    kind_of_text = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}
    for _ in range(30):
        for text, picture in negatives.draw(np.arange(5), rng):  # the belts of row 5 are alone
            assert kind_of_text[text] == pairs.kinds[picture]
    assert len(negatives.draw(np.array([5]), rng)) == 1


def test_negatives_are_checked():
    pairs = gather(shop())
    with pytest.raises(BadSpec, match="'luck' is not one of category, batch, mined"):
        Negatives.of(pairs, "luck")
    with pytest.raises(BadSpec, match="mined needs recall=SPEC"):
        Negatives.of(pairs, "category+mined")


@pytest.fixture
def plane(tmp_path, monkeypatch):
    """An encoder of texts and pictures as points of a plane: pictures by their number, texts by their length."""
    (tmp_path / "plane").mkdir()
    (tmp_path / "plane/encoder.py").write_text(
        "import numpy as np\n"
        "from quiver.types import Space\n"
        "SPACE = Space('plane', 2, 'cosine', '0')\n"
        "ANGLE = {'image': lambda ref: 0.1 * int(ref[0]), 'text': lambda text: 0.1 * len(text)}\n"
        "class Plane:\n"
        "    keys = ('text', 'image')\n"
        "    def spaces(self, key): return (SPACE,)\n"
        "    def reader(self, key): return ANGLE[key]\n"
        "    def embed(self, key, batch, space):\n"
        "        return np.stack([np.cos(batch), np.sin(batch)], axis=1).astype(np.float32)\n"
        "def load(): return Plane()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "plane.encoder"
    for name in ("plane.encoder", "plane"):
        sys.modules.pop(name, None)


def test_mined_negatives_are_the_nearest_wrong_ones(plane, monkeypatch):
    monkeypatch.setattr("quiver.encoders.fashionbert.data.NEAR", 2)
    pairs = gather(shop(["a", "bb", "ccc", "dddd", "bb", "ffffff"]))
    near_pictures, near_texts = mine(pairs, plane)
    assert sorted(near_pictures[1].tolist()) == [2, 3]  # "bb" lies at picture 2; pictures 1 and 4 are right
    assert sorted(near_texts[1].tolist()) == [0, 2]  # picture 1 lies at "a", and next at "ccc": "bb" is right
    negatives = Negatives.of(pairs, "mined", recall=plane)
    for text, picture in negatives.draw(np.arange(6), np.random.default_rng(0)):
        assert picture in near_pictures[text] or text in near_texts[picture]


def test_batch_has_matches_first_and_hides_what_is_to_be_guessed(pieces):
    pairs = gather(shop())
    features = np.arange(6 * 4 * 3, dtype=np.float16).reshape(6, 4, 3)
    lessons = Lessons(Negatives.of(pairs, "category"), features, pieces, 12, 0.3, 0.25, 2)
    batch = lessons.fetch(np.array([3, 0]), np.random.default_rng(0))
    assert batch.match.tolist() == [1, 1, 0, 0, 0, 0]
    assert batch.words[0, :4].tolist() == pieces.encode(["blue jeans"], limit=12)[0, :4].tolist()
    assert (batch.text == batch.words)[~batch.picked].all()
    assert batch.picked.any(dim=1).all()
    assert batch.hidden.sum(dim=1).tolist() == [1] * 6
    assert batch.patches[1].tolist() == features[0].tolist()
    again = lessons.fetch(np.array([3, 0]), np.random.default_rng(0))
    assert all((ours == theirs).all() for ours, theirs in zip(batch, again, strict=True))


def test_nothing_is_hidden_at_rate_nought(pieces):
    features = np.zeros((6, 4, 3), np.float16)
    batch = Lessons(Negatives.of(gather(shop()), "batch"), features, pieces, 12, 0, 0, 1).fetch(
        np.arange(6), np.random.default_rng(0)
    )
    assert not batch.picked.any()
    assert not batch.hidden.any()
    assert (batch.text == batch.words).all()


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    refs = [str(tmp_path / f"{number}.png") for number in range(6)]
    for ref in refs:
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(ref)
    return refs


def test_features_are_kept_and_bad_pictures_quarantined(pictures, tmp_path, capsys):
    source = open(Extractor(features="pixels", side=2, rows=2, columns=2))
    (tmp_path / "3.png").write_bytes(b"not a picture")
    rows, mask = extract(source, pictures, folder=tmp_path / "kept", shape=(4, 12))
    assert mask.tolist() == [True, True, True, False, True, True]
    assert not rows[3].any()
    np.testing.assert_allclose(rows[0], source.look([source.read(pictures[0])])[0], atol=2e-3)
    line = json.loads((tmp_path / "kept/quarantine.jsonl").read_text())
    assert line["ref"] == pictures[3]
    assert "3.png" in line["reason"]
    assert "1 of 6 pictures cannot be read" in capsys.readouterr().err
    blind = replace(source, look=lambda _: pytest.fail("looked again"))
    again, same = extract(blind, pictures, folder=tmp_path / "kept", shape=(4, 12))
    np.testing.assert_array_equal(again, rows)
    assert same.tolist() == mask.tolist()


def test_extraction_goes_on_where_it_was_stopped(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("quiver.encoders._patch.extract.BLOCK", 2)
    source = open(Extractor(features="pixels", side=2, rows=2, columns=2))
    looked = []

    def look(batch):
        looked.append(len(batch))
        if len(looked) == 3:
            raise KeyboardInterrupt
        return source.look(batch)

    watched = replace(source, look=look)
    with pytest.raises(KeyboardInterrupt):
        extract(watched, pictures, folder=tmp_path / "kept", shape=(4, 12))
    rows, _ = extract(watched, pictures, folder=tmp_path / "kept", shape=(4, 12))
    assert looked == [2, 2, 2, 2]
    whole, _ = extract(source, pictures, folder=tmp_path / "anew", shape=(4, 12))
    np.testing.assert_array_equal(rows, whole)


def test_averaged_features_are_those_of_the_encoder_itself(pictures):
    spec = "timm model=test_efficientnet pretrained=false"
    source = open(Extractor(features=spec, view="averaged", size=64, rows=1, columns=1), device="cpu")
    encoder = registry.load("encoders", f"{spec} size=64 device=cpu")
    picture = source.read(pictures[0])
    theirs = encoder.embed("image", [picture], encoder.spaces("image")[0])[0]
    ours = source.look([picture])[0, 0]
    np.testing.assert_allclose(ours / np.linalg.norm(ours), theirs, atol=1e-4)


def test_features_of_no_cnn_are_refused():
    with pytest.raises(BadSpec, match="is no CNN"):
        open(Extractor(features="classic"), device="cpu")


def test_patches_of_the_whole_picture_follow_the_cells(pictures, tmp_path):
    plain = Extractor(features="pixels", side=2, rows=2, columns=2)
    whole = replace(plain, whole="classic")
    cells, source = open(plain), open(whole)
    classic = registry.load("encoders", "classic")
    (row,), (bare,) = source.look([source.read(pictures[0])]), cells.look([cells.read(pictures[0])])
    theirs = classic.embed("image", [classic.reader("image")(pictures[0])], classic.spaces("image")[0])[0]
    assert row.shape == (whole.patches, source.width) == (5, len(theirs))
    np.testing.assert_array_equal(row[:4, :12], bare)
    assert not row[:4, 12:].any()
    np.testing.assert_array_equal(row[4], theirs)
    assert source.revision != cells.revision
    whole.write(tmp_path)
    assert Extractor.read(tmp_path) == whole
