"""A trained model in a collection: searches both ways, pages with maps, and pairs that are odd."""

import numpy as np
import pytest
from PIL import Image
from tests.encoders.clip4idc.pairs import picture

import quiver
from quiver import registry
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.engine.contact_sheet import write as write_page
from quiver.errors import BadMedia, BadSpec, MissingWeights, QuiverError
from quiver.protocols import PairExplainer
from quiver.types import Query


@pytest.fixture(scope="module")
def spec(trained):
    return f"clip4idc checkpoint={trained[2] / 'model'} device=cpu"


@pytest.fixture(scope="module")
def encoder(spec):
    return registry.load("encoders", spec)


@pytest.fixture(scope="module")
def shelf(trained, spec, tmp_path_factory):
    """A collection of all pairs, each with its first sentence as another item."""
    squares, *_ = trained
    folder = tmp_path_factory.mktemp("shelf")
    lines = ["id,before,after,text"]
    for item in squares.items:
        lines.append(f"{item.id},{item.media['before']},{item.media['after']},")
    for question in squares.questions[::2]:
        lines.append(f"said {question.id},,,{question.query.media['text']}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    collection = quiver.open(folder / "collection")
    collection.add(folder / "pairs.csv", encoder=spec)
    return collection


def media(item):
    return {name: item.media[name] for name in ("before", "after")}


def test_words_find_pairs_pairs_find_words_and_pairs_find_pairs(trained, shelf):
    squares, *_ = trained
    item = next(each for each in squares.items if each.id == "right-green-red")
    assert shelf.search(text="the right square turned from green to red", target="pair", k=1)[0].id == item.id
    assert shelf.search(**media(item), target="text", k=1)[0].id == f"said {item.id}#0"
    assert shelf.search(**media(item), target="pair", k=1)[0].id == item.id
    turned = {"before": item.media["after"], "after": item.media["before"]}
    assert shelf.search(**turned, target="pair", k=1)[0].id == "right-red-green"  # order given backwards: that change
    assert shelf.search(**turned, target="text", k=1)[0].id == "said right-red-green#0"


def test_a_page_shows_both_pictures_and_where_they_differ(trained, shelf, tmp_path):
    query = Query({"text": "left: red became blue"}, target="pair", k=2)
    write_page(tmp_path / "page.html", [(query, shelf.search(query))], collection=shelf)
    page = (tmp_path / "page.html").read_text()
    assert page.count("where they differ</summary>") == 2
    for name in ("before", "after"):
        assert page.count(f"alt='{name}'") == page.count(f"alt='{name}: where they differ'") == 2


def test_maps_are_shares_of_the_attention_over_both_pictures(trained, encoder):
    squares, *_ = trained
    assert isinstance(encoder, PairExplainer)
    read = encoder.reader("pair")
    maps = encoder.differences([read((item.media["before"], item.media["after"])) for item in squares.items])
    assert maps.shape == (len(squares.items), 2, 2, 2)
    assert (maps >= 0).all()
    assert (maps.sum(axis=(1, 2, 3)) < 1).all()


def test_maps_of_pairs_that_cannot_be_read_or_of_no_explainer_are_none(trained, shelf, tmp_path):
    good = tuple(media(trained[0].items[0]).values())
    found = shelf.differences([good, ("gone.png", good[1])])
    assert found[0].shape == (2, 2, 2)
    assert found[1] is None
    assert shelf.differences([]) == []
    other = quiver.open(tmp_path / "classic")
    (tmp_path / "pairs.csv").write_text(f"id,before,after\na,{good[0]},{good[1]}\n")
    other.add(tmp_path / "pairs.csv", encoder="classic")
    assert other.differences([good]) == [None]


def test_pictures_of_two_sizes_are_each_resized_to_the_same_square(encoder):
    before, after = (np.kron(picture({"left": colour, "right": "white"}), np.ones((4, 4, 1), np.uint8)) for colour in
                     ("red", "blue"))  # fmt: skip
    wide = np.asarray(Image.fromarray(after).resize((128, 64), Image.Resampling.NEAREST))
    read, space = encoder.reader("pair"), encoder.spaces("pair")[0]
    same, other = encoder.embed("pair", [read((before, after)), read((before, wide))], space)
    assert np.isfinite(other).all()
    assert same @ other > 0.99  # the same scene in another resolution and aspect


def test_two_equal_pictures_have_a_vector_that_does_not_depend_on_the_order(encoder):
    shown = picture({"left": "red", "right": "white"})
    read, space = encoder.reader("pair"), encoder.spaces("pair")[0]
    rows = encoder.embed("pair", [read((shown, shown)), read((shown, shown.copy()))], space)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(rows[0], rows[1])
    maps = encoder.differences([read((shown, shown))])
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()


@pytest.mark.parametrize("pair", [("a.png",), ("a.png", "b.png", "c.png"), "a.png"])
def test_a_pair_is_two_pictures(encoder, pair):
    with pytest.raises(BadMedia, match="two pictures"):
        encoder.reader("pair")(pair)


def test_a_query_with_one_picture_of_a_pair_is_refused(trained, shelf):
    both = media(trained[0].items[0])
    for name in both:
        with pytest.raises(BadSpec, match="a pair needs both before and after"):
            shelf.search(**{name: both[name]}, target="pair")


def test_rows_with_one_picture_or_a_damaged_one_are_set_apart_and_the_rest_goes_on(trained, spec, tmp_path):
    both = media(trained[0].items[0])
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    rows = [
        f"good,{both['before']},{both['after']}",
        f"half,{both['before']},",
        f"damaged,{both['before']},{tmp_path / 'damaged.png'}",
        f"gone,{tmp_path / 'gone.png'},{both['after']}",
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["id,before,after", *rows]) + "\n")
    collection = quiver.open(tmp_path / "collection")
    report = collection.add(tmp_path / "pairs.csv", encoder=spec)
    assert [item.id for item in collection.get(["good", "half", "damaged", "gone"])] == ["good"]
    assert report.quarantined == 3


def test_a_folder_that_is_not_whole_is_refused_in_one_line(trained, tmp_path):
    import shutil

    shutil.copytree(trained[2] / "model", tmp_path / "model")
    for name in ("tokenizer.json", "patches.json", "model.safetensors"):
        (tmp_path / "model" / name).rename(tmp_path / name)
        with pytest.raises(MissingWeights, match=name) as error:
            registry.load("encoders", f"clip4idc checkpoint={tmp_path / 'model'}")
        assert "\n" not in str(error.value)
        (tmp_path / name).rename(tmp_path / "model" / name)


def test_a_vocabulary_of_another_size_is_refused(trained, tmp_path):
    import shutil

    from quiver.encoders._pieces import Pieces

    shutil.copytree(trained[2] / "model", tmp_path / "model")
    Pieces.train(["other words"], size=30).save(tmp_path / "model/tokenizer.json")
    with pytest.raises(MissingWeights, match="word pieces"):
        Clip4Idc.open(tmp_path / "model")


def test_another_network_below_is_refused(trained, tmp_path):
    import json
    import shutil

    shutil.copytree(trained[2] / "model", tmp_path / "model")
    told = json.loads((tmp_path / "model/patches.json").read_text())
    (tmp_path / "model/patches.json").write_text(json.dumps({**told, "side": 2}))
    with pytest.raises(QuiverError, match="other features of pictures"):
        registry.load("encoders", f"clip4idc checkpoint={tmp_path / 'model'}")
