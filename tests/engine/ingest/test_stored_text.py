"""What a source does not say of an item stays: its text, as its metadata."""

import numpy as np
import pytest
from PIL import Image

import quiver

FAST = {"encoder": "classic", "progress": False}


@pytest.fixture
def captioned(tmp_path):
    """A folder of two pictures, added after a table of their captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(2):
        pixels = np.random.default_rng(n).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    (tmp_path / "captions.csv").write_text(
        f"image,text,price\n{folder / '0.png'},a red dress,3\n{folder / '1.png'},,4\n"
    )
    shop = quiver.open(tmp_path / "shop")
    shop.add(tmp_path / "captions.csv", **FAST)
    return shop, folder


def ids(shop):
    return [item.id for item in shop.head(10)]


def texts(shop):
    return sorted(str(item.media.get("text")) for item in shop.get(ids(shop)))


def test_a_folder_without_texts_erases_none(captioned):
    shop, folder = captioned
    before = texts(shop)
    report = shop.add(folder, **FAST)
    assert (report.added, report.updated) == (0, 0)
    assert texts(shop) == before == ["None", "a red dress"]


def test_a_text_can_be_replaced_and_a_new_kind_of_item_takes_none_over(captioned):
    shop, folder = captioned
    id = next(item.id for item in shop.get(ids(shop)) if item.media.get("text"))
    shop.add(quiver.Item(id, {"image": str(folder / "0.png"), "text": "a blue dress"}), **FAST)
    assert texts(shop) == ["None", "a blue dress"]
    shop.add(quiver.Item(id, {"text": "only words"}), **FAST)
    shop.add(quiver.Item(id, {"image": str(folder / "1.png")}), **FAST)
    assert texts(shop) == ["None", "None"]
