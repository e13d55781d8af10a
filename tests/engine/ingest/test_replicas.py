"""Several devices at ingest. Here they are several copies on one CPU: the mechanism, not the speed."""

import threading

import numpy as np
import pytest
from tests.encoders import families

import quiver
from quiver import registry
from quiver.engine.core.encoder import Loaded, find
from quiver.engine.ingest import replicas
from quiver.engine.ingest.pipeline import CHUNK, chunk_of
from quiver.errors import BadSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return families.sentence(tmp_path_factory.mktemp("bert"), families.bert, pooling="mean")


def items(count):
    return [quiver.Item(str(n), {"text": f"thing {n} of {count}"}) for n in range(count)]


def test_two_copies_store_what_one_stores(folder, tmp_path):
    spec = f"sentence_transformers model={folder}"
    stored = {}
    for devices in (None, "cpu,cpu"):
        shop = quiver.open(tmp_path / str(devices))
        report = shop.add(*items(100), encoder=spec, devices=devices, workers=0, progress=False)
        assert report.added == 100
        assert list(shop.info().encoders) == [spec]
        shop.export(tmp_path / f"{devices}.npy", space=f"sentence_transformers/{folder.name}")
        stored[devices] = np.load(tmp_path / f"{devices}.npy")
    np.testing.assert_allclose(stored["cpu,cpu"], stored[None], atol=1e-6)


def test_copies_embed_their_parts_of_a_batch_at_the_same_time(folder, monkeypatch):
    copies, load_one, all_three = [], registry.load, threading.Barrier(3, timeout=60)

    def load(kind, spec):
        copies.append(encoder := Counting(load_one(kind, spec), all_three))
        return encoder

    plain = find(f"sentence_transformers model={folder}")
    monkeypatch.setattr(replicas.registry, "load", load)
    (spread,) = replicas.spread([plain], ("cpu", "cpu", "cpu"))
    space = plain.encoder.spaces("text")[0]
    texts = [f"text {n}" for n in range(10)]
    np.testing.assert_allclose(
        spread.encoder.embed("text", texts, space), plain.encoder.embed("text", texts, space), atol=1e-6
    )
    assert [copy.sizes for copy in copies] == [[3], [3], [4]]
    assert not all_three.broken
    assert spread.describe() == plain.describe()
    assert chunk_of([spread]) == 3 * CHUNK


class Counting:
    """Counts what an encoder embeds, once all copies are about to."""

    def __init__(self, encoder, all_copies):
        self.encoder, self.sizes, self.all_copies = encoder, [], all_copies

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def embed(self, key, batch, space):
        self.sizes.append(len(batch))
        self.all_copies.wait()
        return self.encoder.embed(key, batch, space)


def test_a_bad_item_on_one_device_does_not_harm_the_others(tmp_path):
    class Picky:
        at_once = None

        def __init__(self):
            self.space = quiver.types.Space("picky", 2, "cosine", "1")
            self.keys = ("text",)

        def spaces(self, key):
            return (self.space,)

        def reader(self, key):
            return str

        def embed(self, key, batch, space):
            if "bad" in batch:
                raise ValueError("bad")
            return np.tile(np.float32([1, 0]), (len(batch), 1))

    from quiver.engine.ingest.pipeline import embed

    loaded = Loaded("picky", replicas.Replicas([Picky(), Picky()]))
    data, reasons = embed(loaded, "text", ["a", "b", "bad", "c"], loaded.encoder.spaces("text")[0])
    assert list(reasons) == [2]
    np.testing.assert_array_equal(data[[0, 1, 3]], np.tile(np.float32([1, 0]), (3, 1)))


@pytest.mark.parametrize("given", ["", "cpu,", [], ["cpu", 1], 3])
def test_devices_are_names(given):
    with pytest.raises(BadSpec, match="devices must be names such as cuda:0,cuda:1"):
        replicas.devices_of(given)


def test_devices_that_are_not_here_or_have_no_effect_are_refused(folder, tmp_path):
    shop = quiver.open(tmp_path / "shop")
    with pytest.raises(BadSpec, match="this machine has"):
        shop.add(*items(3), encoder=f"sentence_transformers model={folder}", devices="cuda:63", workers=0)
    with pytest.raises(BadSpec, match="devices has no effect: classic has no option device"):
        shop.add(*items(3), encoder="classic", devices="cpu,cpu", workers=0)
    with pytest.raises(BadSpec, match="names its device: leave it out"):
        shop.add(*items(3), encoder=f"sentence_transformers model={folder} device=cpu", devices="cpu,cpu", workers=0)


def test_a_large_batch_is_given_whole(folder):
    assert chunk_of([find(f"sentence_transformers model={folder} at_once=200")]) == 200
    assert chunk_of([find(f"sentence_transformers model={folder} at_once=8")]) == CHUNK
    assert chunk_of([find("classic")]) == CHUNK
