import pytest
import torch
from torch.nn.functional import normalize

from quiver.encoders.artemis import composer, score
from quiver.encoders.artemis.combiner import Combiner
from quiver.encoders.artemis.config import Config


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def given(dim: int = 16):
    torch.manual_seed(0)
    return [normalize(torch.randn(n, dim), dim=1) for n in (4, 4, 6)]


def scores(terms, target):
    return torch.stack(list(score.values(terms, target).values())).sum(dim=0)


def test_artemis_adds_the_published_number_of_parameters() -> None:
    assert count(composer.build(Config())) == 1_313_280
    assert count(composer.build(Config(composer="em"))) == 262_656 + 525_312
    assert count(composer.build(Config(composer="is"))) == 525_312


@pytest.mark.parametrize("name", ["late_fusion", "cross_modal", "visual_search"])
def test_baselines_have_nothing_to_learn(name) -> None:
    assert count(composer.build(Config(composer=name))) == 0


def uniform(change):
    torch.manual_seed(1)
    plain = composer.build(Config.tiny(attention="uniform"))
    torch.manual_seed(1)
    other = composer.build(Config.tiny(**change))
    other.explicit.transform.load_state_dict(plain.explicit.transform.state_dict())
    return plain, other


def test_uniform_attention_is_two_plain_products() -> None:
    reference, words, target = given()
    plain, _ = uniform({})
    terms = plain(reference, words)
    assert all(term.energy is None for term in terms.values())
    asked = normalize(plain.explicit.transform(words), dim=1)
    torch.testing.assert_close(scores(terms, target), asked @ target.T + reference @ target.T)


@pytest.mark.parametrize("change", [{"mix": 1.0}, {"attention": "shared"}, {}])
def test_attention_without_preference_is_uniform(change) -> None:
    reference, words, target = given()
    plain, other = uniform(change)
    for half in (other.explicit, other.implicit):
        if not change:
            torch.nn.init.zeros_(half.attention.layers[2].weight)
            torch.nn.init.zeros_(half.attention.layers[2].bias)
    torch.testing.assert_close(scores(other(reference, words), target), scores(plain(reference, words), target))


def test_mixing_moves_every_weight_towards_their_mean() -> None:
    _, words, _ = given()
    torch.manual_seed(0)
    pure = composer.Attention(Config.tiny())
    half = composer.Attention(Config.tiny(mix=0.25))
    half.load_state_dict(pure.state_dict())
    weights = pure(words)
    torch.testing.assert_close(weights.amax(dim=1), torch.ones(4))
    torch.testing.assert_close(half(words), 0.75 * weights + 0.25 * weights.mean(dim=1, keepdim=True))


def test_shared_attention_does_not_depend_on_words() -> None:
    attention = composer.Attention(Config.tiny(attention="shared"))
    torch.nn.init.normal_(attention.shared)
    first, second = attention(torch.randn(2, 16))
    assert first.std() > 0.1
    torch.testing.assert_close(first, second)


def test_explicit_matching_does_not_see_the_reference() -> None:
    reference, words, target = given()
    model = composer.build(Config.tiny("em"))
    torch.testing.assert_close(scores(model(reference, words), target), scores(model(-reference, words), target))


def test_tirg_whose_gate_is_zero_halves_the_reference() -> None:
    reference, words, _ = given()
    model = composer.build(Config.tiny("tirg", residual=0.0)).eval()
    torch.nn.init.zeros_(model.gate[2].weight)
    torch.nn.init.zeros_(model.gate[2].bias)
    torch.testing.assert_close(model.compose(reference, words), reference / 2)


def test_late_fusion_is_the_direction_of_the_sum() -> None:
    reference, words, target = given()
    terms = composer.build(Config.tiny("late_fusion"))(reference, words)
    torch.testing.assert_close(composer.vector(terms), normalize(reference + words, dim=1))
    torch.testing.assert_close(scores(terms, target), normalize(reference + words, dim=1) @ target.T)


def test_combiner_that_has_learned_nothing_is_the_mean_of_both() -> None:
    reference, words, _ = given()
    model = Combiner(Config.tiny("combiner")).eval()
    for layer in (model.output, model.share[3]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.testing.assert_close(composer.vector(model(reference, words)), normalize(reference + words, dim=1))
    torch.nn.init.constant_(model.share[3].bias, 100.0)  # all of it words
    torch.testing.assert_close(composer.vector(model(reference, words)), words)


def test_combiner_has_the_widths_of_clip4cir() -> None:
    # 640 -> 2560 twice, 5120 -> 5120, 5120 -> 640, and 5120 -> 5120 -> 1 for the share.
    wide = 5120 * 5120 + 5120
    assert (
        count(Combiner(Config(composer="combiner", dim=640)))
        == 2 * (640 * 2560 + 2560) + wide + 5120 * 640 + 640 + wide + 5121
    )
