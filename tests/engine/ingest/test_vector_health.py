"""Encoders that misbehave without an error are reported, and healthy ones are not."""

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.encoders._tower import Tower, Towers
from quiver.engine.ingest import watch
from quiver.engine.ingest.vector_health import Health, cosines, fingerprints
from quiver.media import ImageReader, TextReader
from quiver.types import Space


class Encoder(Towers):
    """Texts and pictures by functions: given as an object, with a name and a revision."""

    __slots__ = ("name", "revision")

    def __init__(self, name, text, image=None, dim=32):
        towers = {"text": Tower(TextReader(), text)}
        if image is not None:
            towers["image"] = Tower(ImageReader(8, fit="squash"), image)
        super().__init__(Space(name, dim, "cosine", "1"), towers)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "revision", "1")


def directions(batch, dim=32):
    """A vector for each text, near to no other: of random numbers that the text seeds."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=dim) for text in batch]).astype(np.float32)


def collapsed(batch):
    """A network that lost its weights: the input hardly matters."""
    return 1 + 0.01 * directions(batch)


def dead(batch):
    """An optimised file that gives zeros for everything."""
    return np.zeros((len(batch), 32), np.float32)


def deaf(batch):
    """A tokenizer without its vocabulary: it knows words of two letters only."""
    return directions(
        ["".join(word for word in text.split() if word.isalpha() and len(word) == 2) or "?" for text in batch]
    )


def items(count=40, words="thing number"):
    return [quiver.Item(f"{words} {n}", {"text": f"{words} {n}"}) for n in range(count)]


def added(tmp_path, encoder, given=None, name="shop"):
    shop = quiver.open(tmp_path / name)
    return shop, shop.add(*(given or items()), encoder=encoder, workers=0, progress=False)


@pytest.mark.parametrize("features", [collapsed, dead])
def test_vectors_that_are_nearly_all_equal_are_reported(features, tmp_path):
    shop, report = added(tmp_path, Encoder(features.__name__, features))
    (note,) = [line for line in report.lines() if "point nearly the same way" in line]
    assert note.startswith(f"all 40 vectors of text in {features.__name__} point nearly the same way (mean cosine ")
    (health,) = shop.check_vectors(again=0)
    assert health.cosine > 0.999
    assert "point nearly the same way" in health.problems[0]


def test_equal_vectors_of_different_inputs_are_reported(tmp_path):
    given = items(30) + [quiver.Item(f"b{n}", {"text": f"ab thing {n}"}) for n in range(30)]
    shop, report = added(tmp_path, Encoder("deaf", deaf), given)
    (note,) = [line for line in report.lines() if "does not tell these items apart" in line]
    assert note.startswith("58 of 60 vectors of text in deaf are equal to that of a different item")
    assert shop.check_vectors(again=0)[0].alike == 58


def test_equal_vectors_of_equal_inputs_are_right(tmp_path):
    given = [quiver.Item(str(n), {"text": f"thing {n % 5}"}) for n in range(40)]
    shop, report = added(tmp_path, Encoder("well", directions), given)
    assert report.lines() == []
    (health,) = shop.check_vectors()
    assert (health.alike, health.problems) == (0, [])


def test_a_healthy_encoder_is_not_reported(tmp_path):
    shop, report = added(tmp_path, Encoder("well", directions))
    assert report.lines() == []
    (health,) = shop.check_vectors(sample=20, again=5)
    assert health.sampled == 20
    assert abs(health.cosine) < 0.1
    assert len(health.again) == 5
    assert min(health.again.values()) > 0.99999


def test_few_vectors_are_not_judged(tmp_path):
    _, report = added(tmp_path, Encoder("dead", dead), items(8))
    assert report.lines() == []


def test_the_same_item_with_another_vector_is_reported_by_the_next_add(tmp_path, monkeypatch):
    """Another version of a library: name and revision are the same, the numbers are not."""
    monkeypatch.setattr(watch, "_DONE", set())
    added(tmp_path, Encoder("model", directions))
    shop, report = added(tmp_path, Encoder("model", lambda batch: directions(batch) + 0.3), items(5, words="other"))
    (note,) = [line for line in report.lines() if "embedded again" in line]
    assert note.startswith("3 of 3 stored items of text in model, embedded again, have another vector than the stored")
    assert "(cosine 0.9" in note
    assert report.added == 5
    (health,) = shop.check_vectors()
    assert len(health.again) == 8
    assert "another vector" in health.problems[0]


def test_an_add_embeds_stored_items_again_once_and_only_if_it_embeds(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "_DONE", set())
    seen = []

    def counted(batch):
        seen.append(list(batch))
        return directions(batch)

    encoder = Encoder("model", counted)
    added(tmp_path, encoder)
    assert sum(map(len, seen)) == 40
    added(tmp_path, encoder)  # nothing is new
    assert sum(map(len, seen)) == 40
    added(tmp_path, encoder, items(2, words="more"))
    assert sum(map(len, seen)) == 45
    added(tmp_path, encoder, items(2, words="still more"))
    assert sum(map(len, seen)) == 47


def test_files_that_changed_or_may_not_be_read_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "_DONE", set())
    (tmp_path / "photos").mkdir()

    def seen(batch):
        return np.stack([picture.reshape(-1)[:32] for picture in batch]).astype(np.float32) + 1

    def paint(name, number):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)

    for n in range(4):
        paint(f"{n}.png", n)
    encoder = Encoder("eyes", directions, seen)
    shop = quiver.open(tmp_path / "shop")
    shop.add(str(tmp_path / "photos"), encoder=encoder, workers=0, progress=False)
    (_, image) = [*shop.check_vectors()] if len(shop.check_vectors()) == 2 else [None, *shop.check_vectors()]
    assert len(image.again) == 4
    paint("0.png", 100)
    assert len(shop.check_vectors()[-1].again) == 3
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "stranger"))
    assert shop.check_vectors()[-1].again == {}


def test_ready_made_vectors_are_watched_too(tmp_path):
    shop = quiver.open(tmp_path / "shop")
    vectors = np.ones((50, 16), np.float32)
    report = shop.add(vectors=vectors, ids=[str(n) for n in range(50)], space="mine", progress=False)
    assert any("all 50 vectors of image in mine point nearly the same way" in line for line in report.lines())


def test_a_collection_whose_encoder_is_not_here_is_checked_without_it(tmp_path, monkeypatch):
    added(tmp_path, Encoder("gone", directions))
    from quiver.engine.core import given_encoder

    monkeypatch.setattr(given_encoder, "_GIVEN", {})
    (health,) = quiver.open(tmp_path / "shop").check_vectors()
    assert health.sampled == 40
    assert "text in gone cannot be embedded again" in health.problems[0]


def test_mean_cosine_is_that_of_all_pairs():
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32) + 0.5
    health = Health("x")
    health.see(rows[:20])
    health.see(rows[20:])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(50, 1)]
    assert health.cosine == pytest.approx(pairs.mean(), abs=1e-6)


def test_fingerprints_are_of_vectors_and_not_of_batches():
    rows = np.random.default_rng(0).normal(size=(9, 700)).astype(np.float32)
    whole = fingerprints(rows)
    np.testing.assert_array_equal(np.concatenate([fingerprints(rows[:2]), fingerprints(rows[2:])]), whole)
    assert len(np.unique(whole)) == 9
    swapped = rows.copy()
    swapped[0, :2] = swapped[0, 1::-1]
    assert fingerprints(swapped)[0] != whole[0]


def test_cosines_of_rows():
    found = cosines(np.array([[1, 0], [3, 4], [0, 0]], np.float32), np.array([[2, 0], [4, 3], [1, 1]], np.float32))
    np.testing.assert_allclose(found, [1, 0.96, 0])


def test_a_column_without_vectors_has_nothing_to_compare(tmp_path, monkeypatch):
    """The column is made before the first commit: a run that is killed between the two leaves it empty."""
    monkeypatch.setattr(watch, "_DONE", set())
    encoder = Encoder("model", directions)
    shop, _ = added(tmp_path, encoder, items(3))
    shop.delete([item.id for item in items(3)])
    _, report = added(tmp_path, encoder, items(4, words="new"))
    assert (report.added, report.lines()) == (4, [])
