"""The model: shapes, codes, scoring, saving."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from quiver.encoders.map_ivr.config import CODES, Config, Features
from quiver.encoders.map_ivr.model import MapIvr, scaled, unit
from quiver.errors import BadSpec, MissingWeights


def model(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MapIvr(Config.tiny(**changes)).eval()


def test_shapes_of_the_output():
    out = model()(torch.randn(4, 12), torch.randn(4, 10))
    shapes = {name: tuple(getattr(out, name).shape) for name in out._fields}
    assert shapes == {
        "motion": (4, 8), "appearance_v": (4, 8), "appearance_u": (4, 8), "mean": (4, 6), "logvar": (4, 6),
        "guess": (4, 10), "logits_v": (4, 3), "logits_u": (4, 3),
    }  # fmt: skip


def test_paper_widths_are_those_of_the_sister_method():
    config = Config(image=Features(width=4096), video=Features(width=4096), classes=("a", "b"))
    assert (config.hidden, config.dim, config.code, config.joint) == (2048, 1024, 1024, 5120)


def test_features_of_any_length_give_the_same_vectors():
    net = model()
    x = torch.randn(5, 10)
    torch.testing.assert_close(net.embed_video(x), net.embed_video(17 * x))
    torch.testing.assert_close(scaled(x).square().mean(dim=1), torch.ones(5))


def test_vectors_have_no_negative_entries_so_that_orthogonal_is_the_least_cosine():
    net = model()
    out = net(torch.randn(40, 12), torch.randn(40, 10))
    for name in ("motion", "appearance_v", "appearance_u"):
        assert getattr(out, name).min() >= 0


def test_decoder_is_cut_at_zero_only_for_features_that_are_never_negative():
    image, video = torch.randn(40, 12), torch.randn(40, 10)
    assert model(positive=True)(image, video).guess.min() >= 0
    assert model(positive=False)(image, video).guess.min() < 0


def test_negative_features_are_not_cut_at_the_input():
    net = model()
    x = torch.randn(5, 10)
    assert not torch.allclose(net.embed_video(x), net.embed_video(x.clamp(min=0)))


def test_codes_are_drawn_once_nested_and_seeded():
    net = model()
    assert net.codes.shape == (CODES, 6)
    torch.testing.assert_close(net.codes, model(1).codes)
    assert not torch.equal(net.codes, MapIvr(Config.tiny(seed=1)).codes)
    a_u = net.embed_image(torch.randn(3, 12))
    many = net.imagine(a_u, 20)
    for h in (1, 5, 19):
        torch.testing.assert_close(net.imagine(a_u, h), many[:, :h])


def test_distance_of_the_nearest_never_grows_with_h():
    net = model()
    a_u, v = net.embed_image(torch.randn(4, 12)), unit(torch.randn(30, 10))
    nearest = [(net.imagine(a_u, h) @ v.T).amax(dim=1) for h in range(1, 30)]
    for fewer, more in pairwise(nearest):
        assert (more >= fewer).all()
    assert (nearest[-1] > nearest[0] + 1e-6).any()


def test_one_code_is_one_decoding():
    net = model()
    a_u = net.embed_image(torch.randn(1, 12))
    whole = torch.cat([net.codes[:1], a_u * 8**0.5], dim=1)
    torch.testing.assert_close(net.imagine(a_u, 1)[0], unit(net.decode(whole)))


def test_reconstruction_reads_the_still_and_not_the_appearance_of_the_clip():
    net = model()
    a_u = net.embed_image(torch.randn(2, 12))
    before = net.imagine(a_u, 3)
    for part in (net.appearance, net.motion, net.mean, net.logvar):
        for parameter in part.parameters():
            parameter.data.normal_()
    torch.testing.assert_close(net.imagine(a_u, 3), before)


def test_scores_are_one_largest_inner_product():
    net = model()
    blend = 0.3
    u, v = torch.randn(4, 12), torch.randn(25, 10)
    a_u, a_v, clips = net.embed_image(u).double(), net.embed_video(v).double(), unit(v).double()
    imagined = net.imagine(a_u.float(), 7).double()
    s_a = 1 - a_u @ a_v.T
    s_v = (1 - imagined @ clips.T).amin(dim=1)
    naive = 1 - ((1 - blend) * s_a + blend * s_v)
    ask = torch.cat([(1 - blend) * a_u[:, None].expand(-1, 7, -1), blend * imagined], dim=2)
    found = (ask @ torch.cat([a_v, clips], dim=1).T).amax(dim=1)
    alive = (a_v.norm(dim=1) > 0)[None] & (a_u.norm(dim=1) > 0)[:, None]
    torch.testing.assert_close(found[alive], naive[alive], atol=1e-7, rtol=0)


def test_the_training_forward_draws_codes_from_the_generator_of_torch():
    net = model().train()
    image, video = torch.randn(6, 12), torch.randn(6, 10)
    torch.manual_seed(3)
    first = net(image, video).guess
    torch.manual_seed(3)
    torch.testing.assert_close(net(image, video).guess, first)
    assert not torch.equal(net(image, video).guess, first)


def test_a_folder_gives_the_same_model(tmp_path):
    net = model()
    net.save_pretrained(tmp_path / "model")
    again = MapIvr.open(tmp_path / "model")
    assert again.config == net.config
    x = torch.randn(3, 12)
    torch.testing.assert_close(again.imagine(again.embed_image(x), 4), net.imagine(net.embed_image(x), 4))
    assert "MAP-IVR" in (tmp_path / "model/README.md").read_text()


def test_a_damaged_folder_is_one_clear_line(tmp_path):
    model().save_pretrained(tmp_path / "model")
    path = tmp_path / "model/config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "dim": 9}))
    with pytest.raises(MissingWeights, match="holds no whole map_ivr model"):
        MapIvr.open(tmp_path / "model")
    path.write_text(json.dumps({**values, "wings": 2}))
    with pytest.raises(BadSpec, match="unknown field 'wings'"):
        MapIvr.open(tmp_path / "model")


def test_confidence_is_the_largest_class_probability():
    net = model()
    windows = torch.randn(6, 10)
    logits = net.confidence(scaled(windows)).detach().double().numpy()
    expected = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(net.confidences(windows).detach().numpy(), expected, atol=1e-6)
