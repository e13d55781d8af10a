"""A model in a folder."""

import json

import pytest
import torch

from quiver.encoders.fashionbert import oscar
from quiver.encoders.fashionbert.model import FashionBert
from quiver.errors import MissingWeights


def test_a_folder_holds_the_whole_model_and_gives_it_back(model, pieces, text, features, tmp_path, capsys):
    model.pieces = pieces
    model.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}
    again = FashionBert.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.pieces.encode(["a red dress"], limit=12).tolist() == pieces.encode(["a red dress"], limit=12).tolist()
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(text, features).match, model(text, features).match)
    assert capsys.readouterr().out == ""


def test_a_model_without_word_pieces_is_kept_too(tmp_path):
    made = oscar.Oscar(oscar.Config.tiny())
    made.save_pretrained(tmp_path)
    again = oscar.Oscar.from_pretrained(tmp_path)
    assert again.pieces is None
    assert torch.equal(again.regions.project.weight, made.regions.project.weight)


def test_weights_that_do_not_fit_are_refused(model, tmp_path):
    with pytest.raises(MissingWeights, match=r"no config\.json"):
        FashionBert.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "layers": 3}))
    with pytest.raises(MissingWeights, match=r"no whole fashionbert model.*encoder\.blocks\.2"):
        FashionBert.from_pretrained(tmp_path)
