"""A model is its config and its weights, both of them whole, and a row does not depend on its batch."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from quiver.encoders.two_tower import load
from quiver.encoders.two_tower.config import Base, Config
from quiver.encoders.two_tower.model import Bag, Head, Tower, TwoTower
from quiver.encoders.two_tower.word import Grams
from quiver.errors import BadSpec, MissingWeights


def tiny() -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(Config.tiny()).eval()


def test_linear_head_is_one_product_and_residual_adds_it_to_the_hidden_layer() -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    linear = Head(5, Config(dim=4))
    torch.testing.assert_close(linear(x), x @ linear.linear.weight.T + linear.linear.bias)
    both = Head(5, Config(dim=4, hidden=6, residual=True))
    torch.testing.assert_close(both(x), both.linear(x) + both.outer(torch.nn.functional.gelu(both.inner(x))))
    assert Head(5, Config(dim=4, hidden=6)).linear is None


def test_bag_is_the_sum_over_the_root_of_the_count_and_unseen_ngrams_say_nothing() -> None:
    bag = Bag(Config(dim=2, buckets=5)).eval()
    with torch.no_grad():
        bag.table.weight[1:4] = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
        bag.bias.zero_()
    grams = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [5, 4, 0, 0]])
    expected = torch.tensor([[1 / math.sqrt(2), 2 / math.sqrt(2)], [4, 4], [0, 0]])
    torch.testing.assert_close(bag(grams), expected)


def test_ngrams_count_by_their_rarity_and_long_texts_as_much_as_short_ones() -> None:
    bag = Bag(Config(dim=2, buckets=4)).eval()
    bag.measure(Grams(np.array([0, 2, 4, 5]), np.array([1, 2, 1, 3, 1], np.int32)))
    assert bag.rarity.tolist() == pytest.approx([0, math.log(4 / 3), math.log(4), math.log(4), math.log(4)])
    with torch.no_grad():
        bag.table.weight[1:] = torch.eye(4)[:, :2]
        bag.bias.zero_()
    length = math.hypot(math.log(4 / 3), math.log(4))
    expected = [[math.log(4 / 3) / length, math.log(4) / length]]
    torch.testing.assert_close(bag(torch.tensor([[1, 2, 0]])), torch.tensor(expected))


def test_bag_leaves_ngrams_out_in_training_alone() -> None:
    bag = Bag(Config(dim=2, buckets=500, word_dropout=0.5))
    torch.nn.init.ones_(bag.table.weight)
    grams = torch.arange(1, 401)[None]
    kept = (bag(grams) - bag.bias)[0, 0].item() ** 2  # the root of how many are left
    assert 150 < kept < 250
    assert (bag.eval()(grams) - bag.bias)[0, 0].item() == pytest.approx(20, rel=1e-5)


def test_features_are_centred_and_scaled_and_what_never_varies_is_not_blown_up() -> None:
    tower = Tower(Base(spec="classic", width=2), Config(dim=3))
    tower.measure(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert tower.mean.tolist() == [2, 5]
    assert tower.spread.tolist() == pytest.approx([1, 0.005])


def test_batch_of_mixed_keys_keeps_its_order() -> None:
    model = tiny()
    text = {"features": torch.randn(2, 64), "grams": torch.tensor([[1, 2], [3, 0]])}
    image = {"features": torch.randn(1, 1120)}
    rows = model.side({"text": (torch.tensor([2, 0]), text), "image": (torch.tensor([1]), image)})
    torch.testing.assert_close(rows[[2, 0]], model.embed("text", text))
    torch.testing.assert_close(rows[[1]], model.embed("image", image))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_cosines_are_never_multiplied_by_more_than_a_hundred() -> None:
    model = TwoTower(Config.tiny())
    assert model.scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.scale.fill_(9)
    given = {"image": (torch.tensor([0]), {"features": torch.randn(1, 1120)})}
    assert model((given, given)).scale.item() == pytest.approx(100)


def test_bias_is_learnt_by_the_sigmoid_loss_alone() -> None:
    assert not TwoTower(Config.tiny()).bias.requires_grad
    sigmoid = TwoTower(Config.tiny(loss="sigmoid"))
    assert (sigmoid.bias.requires_grad, sigmoid.bias.item()) == (True, -10)


def test_saved_model_is_read_back_and_says_what_it_is(tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path)
    again = TwoTower.from_pretrained(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert "text: `words + classic dim=64`" in (tmp_path / "README.md").read_text()


def test_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"no config\.json"):
        load(checkpoint=tmp_path)
    tiny().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: each for name, each in state.items() if name != "scale"}, tmp_path / "model.safetensors")
    with pytest.raises(MissingWeights, match="scale"):
        TwoTower.open(tmp_path)


def test_config_of_another_version_is_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "depth": 3}))
    with pytest.raises(BadSpec, match="depth"):
        TwoTower.open(tmp_path)
    config["towers"]["text"]["depth"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadSpec, match="depth"):
        TwoTower.open(tmp_path)


def test_encoders_that_give_other_vectors_are_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)  # its config has no revision of its encoders
    with pytest.raises(BadSpec, match="other text vectors"):
        load(checkpoint=tmp_path)


def test_tower_for_what_is_no_media_is_refused() -> None:
    with pytest.raises(BadSpec, match="smell"):
        Config(towers={"smell": Base(words=True)})
    with pytest.raises(BadSpec, match="only the text tower"):
        Config(towers={"image": Base(words=True)})
    with pytest.raises(BadSpec, match="a tower needs encoders"):
        Base(spec="classic")
    with pytest.raises(BadSpec, match="needs towers"):
        TwoTower(replace(Config.tiny(), towers={}))
    with pytest.raises(BadSpec, match="embeds text, image, not audio"):
        tiny().embed("audio", {})
