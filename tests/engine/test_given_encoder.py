"""Encoders given as objects: stored by name and revision, and asked for again."""

import subprocess
import sys

import numpy as np
import pytest

import quiver
from quiver.engine.core import given_encoder
from quiver.errors import BadMedia, BadSpec, EncoderFailed, MissingEncoder, SpaceMismatch
from quiver.types import Item, Space


class Letters:
    """Embeds a text as the counts of four letters."""

    def __init__(self, name="letters", revision="1", dim=4):
        self.name, self.revision = name, revision
        self.space = Space("letters", dim, "cosine", f"{revision}")
        self.keys = ("text",)

    def spaces(self, key):
        return (self.space,) if key == "text" else ()

    def reader(self, key):
        return str

    def embed(self, key, batch, space):
        counts = np.array([[text.count(letter) for letter in "abcdefgh"[: space.dim]] for text in batch], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.setattr(given_encoder, "_GIVEN", {})


@pytest.fixture
def shop(tmp_path):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    rows = [{"id": letter, "text": letter * 3} for letter in "abcd"]
    assert collection.add(rows, encoder=Letters(), workers=0).embedded == 4
    return collection


def test_an_object_embeds_items_and_queries(shop):
    assert shop.search(text="bbba", k=2).ids == ("b", "a")
    assert list(shop.info().encoders) == ["object name=letters revision=1"]
    assert shop.add([{"id": "e", "text": "cccd"}], workers=0).embedded == 1
    assert shop.search(text="cccd", k=1).ids == ("e",)


def test_an_encoder_that_had_nothing_to_embed_is_noted(tmp_path, photos):
    collection = quiver.open(tmp_path / "other", catch_up=False)
    said = "object name=letters revision=1 embedded nothing: it embeds text, and no item of this add has such media"
    assert said in collection.add(photos, encoder=["classic", Letters()], workers=0).notes
    assert said not in collection.add([{"id": "z", "text": "abc"}], encoder=Letters(), workers=0).notes


def test_another_process_asks_for_it_by_name_and_takes_it(shop, tmp_path):
    given_encoder._GIVEN.clear()
    asks = r"'letters', revision '1', was given as an object, and has to be given again: shop\.use\(model\)"
    again = quiver.open(shop.uri)
    with pytest.raises(MissingEncoder, match=asks):
        again.search(text="b", target="text")
    assert again.search(like="a", k=1) and again.count() == 4  # what needs no model works
    with pytest.raises(MissingEncoder, match=r"the one given has revision 2"):
        again.use(Letters(revision="2")).search(text="b", target="text")
    assert again.use(Letters()).search(text="bbb", k=1).ids == ("b",)
    code = f"import quiver; quiver.open({shop.uri!r}).search(text='b')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has to be given again" in done.stderr.strip().splitlines()[-1]


def test_an_object_with_other_spaces_than_it_had_is_refused(shop):
    given_encoder._GIVEN.clear()
    changed = Letters()
    changed.space = Space("letters", 4, "cosine", "another")
    with pytest.raises(SpaceMismatch, match="has changed"):
        shop.use(changed).search(text="b")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": None}, "states its name, by which later searches ask for it: Letters.name is None"),
        ({"revision": ""}, "states its revision"),
        ({"revision": 3}, "Letters.revision is 3"),
    ],
)
def test_an_object_states_its_name_and_revision(tmp_path, change, problem):
    encoder = Letters()
    for name, value in change.items():
        setattr(encoder, name, value)
    with pytest.raises(BadSpec, match=problem.replace(".", r"\.")):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=encoder)
    assert not (tmp_path / "c").exists()


def test_what_is_no_encoder_is_told_what_it_lacks(tmp_path):
    class Half:
        name, revision = "half", "1"

        def embed(self, key, batch, space):
            return None

    with pytest.raises(BadSpec, match=r"Half is no encoder: it lacks keys, spaces, reader"):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=[Half()])
    with pytest.raises(BadSpec, match="encoder must be a string"):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=7)


class Few(Letters):
    """Knows texts with an a alone; its embedding fails for a text with a b."""

    def __init__(self, reads=True):
        super().__init__("few", "1")
        self.space, self.reads = Space("few", 4, "cosine", "1"), reads

    def reader(self, key):
        return self._read if self.reads else str

    def _read(self, text):
        if "a" not in text:
            raise BadMedia(f"{text!r} is unknown")
        return text

    def embed(self, key, batch, space):
        if any("a" not in text for text in batch):
            raise RuntimeError("index out of range\nin self")
        return super().embed(key, batch, space)


@pytest.mark.parametrize("reads", [True, False], ids=["reader", "embed"])
def test_an_item_keeps_what_one_encoder_embeds_where_another_cannot(tmp_path, reads):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    rows = [{"id": text, "text": text} for text in ("aab", "b", "bcd")]
    report = shop.add(rows, encoder=[Letters(), Few(reads)], workers=0)
    assert (report.added, report.embedded, report.quarantined) == (3, 3, 0)
    why = "'b' is unknown" if reads else "RuntimeError: index out of range\nin self"
    assert report.notes == [f"2 items are stored without a text vector of object name=few revision=1, such as b: {why}"]
    assert shop.search(text="b", spaces="letters", k=3).ids[0] == "b"
    assert shop.search(text="aab", spaces="few", k=3).ids == ("aab",)
    again = shop.add(rows, workers=0)  # the encoder may have learnt meanwhile, so it is asked again
    assert (again.unchanged, again.quarantined, again.notes) == (3, 0, report.notes)


def test_an_item_that_no_encoder_can_embed_is_quarantined(tmp_path):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    report = shop.add([{"id": text, "text": text} for text in ("a", "b")], encoder=Few(), workers=0)
    assert (report.added, report.quarantined, report.notes) == (1, 1, [])
    assert [each.reason for each in shop.info().quarantine] == ["'b' is unknown"]


def test_a_text_that_an_encoder_does_not_know_leaves_the_picture(tmp_path, photos):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    items = [Item("p", {"image": str(photos / "red0.png"), "text": "b"})]
    report = shop.add(items, encoder=["classic", Few()], workers=0)
    assert (report.added, report.quarantined) == (1, 0)
    assert report.notes == [
        "1 item is stored without a text vector of object name=few revision=1, such as p: 'b' is unknown"
    ]


def test_a_file_that_no_encoder_can_read_is_quarantined_whatever_its_text(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    report = shop.add([Item("p", {"image": str(tmp_path / "bad.png"), "text": "b"})], encoder="classic", workers=0)
    assert (report.added, report.quarantined) == (0, 1)


def test_an_encoder_that_fails_in_a_search_is_named(tmp_path):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add([{"id": "a", "text": "a"}], encoder=Few(reads=False), workers=0)
    told = "the encoder object name=few revision=1 cannot embed this text: RuntimeError: index out of range in self"
    with pytest.raises(EncoderFailed, match=f"^{told}$"):
        shop.search(text="b", target="text")
    assert shop.search(text="a", target="text").ids == ("a",)
