"""Files as people have them."""

import os
import time
import wave

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.engine.ingest.decode import Job, Slot, decode
from quiver.engine.storage.dataset import Table
from quiver.media import TextReader

FAST = {"encoder": "classic", "progress": False, "workers": 0}


def rows(collection):
    table = Table(f"{collection.uri}/items.lance").read(["id", "image", "audio", "video", "text"])
    return {row["id"]: row for row in table.to_pylist()}


@pytest.fixture
def sound(tmp_path):
    """An MP4 with a sound and nothing else, as recorders make them."""
    import av

    folder = tmp_path / "sounds"
    folder.mkdir()
    path = folder / "memo.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        tone = np.sin(np.arange(16_000) / 9).astype(np.float32)[None] / 2
        for start in range(0, 16_000, 1024):
            frame = av.AudioFrame.from_ndarray(tone[:, start : start + 1024].copy(), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_an_mp4_that_holds_sound_alone_is_a_sound(tmp_path, sound):
    shop = quiver.open(tmp_path / "c")
    report = shop.add(sound.parent, **FAST)
    assert (report.added, report.quarantined) == (1, 0)
    row = rows(shop)["sounds/memo.mp4"]
    assert (row["audio"], row["video"]) == (str(sound), None)
    assert shop.add(sound.parent, **FAST).unchanged == 1
    assert shop.search(audio=sound, k=1)[0].id == "sounds/memo.mp4"


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path):
    path = tmp_path / "growing.png"
    Image.new("RGB", (8, 8), "red").save(path)

    class Reader:
        """Touches the file as often as told."""

        def __init__(self, times):
            self.times = times

        def __call__(self, source):
            if self.times:
                self.times -= 1
                os.utime(path, ns=(time.time_ns(), time.time_ns() + self.times))
            return source

    job = Job("a", {"image": str(path)})
    assert decode(job, [Slot("image", Reader(1))]).reason is None
    assert "its files changed while they were read" in decode(job, [Slot("image", Reader(2))]).reason


def test_a_file_that_vanishes_after_it_was_listed_is_quarantined_alone(tmp_path, photos):
    from quiver.engine import source

    stream = source.open([str(photos)])
    (photos / "red0.png").unlink()
    results = [decode(Job(row["id"], {"image": row["image"]}), []) for row in next(stream.batches(99)).to_pylist()]
    assert len(results) == 23  # the walk is the listing
    gone = decode(Job("x", {"image": str(photos / "red0.png")}), [Slot("text", TextReader())])
    assert "red0.png: cannot be read: no such file or directory" in gone.reason


def test_uppercase_and_wrong_extensions_are_read_by_content(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "A.JPG", "JPEG")
    Image.new("RGB", (8, 8), "blue").save(folder / "b.jpg", "PNG")
    Image.new("RGB", (8, 8), "green").save(folder / "c.Png", "WEBP")
    with wave.open(str(folder / "D.WAV"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000), file.writeframes(b"\1\2" * 8000)
    (folder / "e.jpg").write_text("<html><body>404</body></html>")
    (folder / "f.png").touch()
    shop = quiver.open(tmp_path / "c")
    report = shop.add(folder, **FAST)
    assert (report.added, report.quarantined) == (4, 2)
    assert sorted(map(str, report.reasons)) == [
        "1 is empty (p/f.png)",
        "1 is not a picture of a known format: it seems to be a web page (p/e.jpg)",
    ]


ODD_NAMES = [
    "a b.png", " lead.png", "trail .png", "tab\tname.png", "new\nline.png", "quote'.png", 'double".png', "100%.png",
    "per%20cent.png", "hash#1.png", "what?.png", "plus+.png", "amp&.png", "semi;colon.png", "comma,.png", "eq=.png",
    "at@home.png", "dollar$HOME.png", "back\\slash.png", "star*.png", "[set].png", "{a,b}.png", "(1).png", "tilde~.png",
    "~user.png", "-dash.png", "--option.png", "colon:.png", "pipe|.png", "less<more>.png", "caret^.png", "tick`.png",
    "bang!.png", "two..dots.png", "a.b.c.png", "UPPER.PNG", "M\u00fcller.png", "Mu\u0308ller2.png", "\u65e5\u672c.png",
    "\u0e20\u0e32\u0e1e.png", "\u0645\u0631\u062d\u0628\u0627.png", "\u200fmark.png", "\U0001f600.png",
    "x" * 240 + ".png", "t#t=1,2.png", "s?offset=3&size=4.png", "file:name.png",
]  # fmt: skip


def test_odd_file_names_are_names_like_any_other(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for name in ODD_NAMES:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name, "PNG")
    shop = quiver.open(tmp_path / "c")
    report = shop.add(folder, **FAST)
    assert (report.added, report.quarantined, report.left_out) == (len(ODD_NAMES), 0, [])
    assert set(rows(shop)) == {f"p/{name}" for name in ODD_NAMES}
    assert shop.add(folder, **FAST).unchanged == len(ODD_NAMES)
    for name in ODD_NAMES:
        assert shop.search(image=str(folder / name), k=1)[0].id == f"p/{name}"


@pytest.mark.parametrize(
    "name", ["my shop", "shop.lance", "a.b", "caf\u00e9", "\u5546\u5e97", "100%", "a#b", "it's", "-x", "x" * 120]
)
def test_collections_may_have_odd_names(tmp_path, photos, name):
    quiver.open(tmp_path / name).add(photos / "red0.png", **FAST)
    assert quiver.open(tmp_path / name).search(like="red0.png", k=3).hits == ()


def test_a_file_name_that_is_not_utf8_is_quarantined_and_the_others_are_added(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"good.png", b"\xff.png"):
        Image.new("RGB", (8, 8), "red").save(folder / "new.png")
        os.rename(folder / "new.png", os.fsencode(folder) + b"/" + name)
    shop = quiver.open(tmp_path / "c", catch_up=False)
    report = shop.add(folder, encoder="classic", workers=0, progress=False)
    assert (report.added, report.quarantined) == (1, 1)
    (row,) = shop.info()["quarantine"]
    assert "UTF-8" in row["reason"] and "\ufffd" in row["id"]
