from dataclasses import replace

import pytest
import torch
from tests.encoders.mmv.golden import distance, load, tensor, under
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from quiver.encoders.mmv.config import GRAPHS, Config
from quiver.encoders.mmv.config import Graph as Name
from quiver.encoders.mmv.graph import TRAINED, Graph
from quiver.encoders.mmv.loss import contrast
from quiver.encoders.mmv.release import from_release
from quiver.encoders.mmv.text import TextTower
from quiver.errors import BadSpec, NoRoute

GOLDEN = load("mmv_heads")
WIDTHS = {"video": 14, "audio": 10, "text": 12}
PLACE = {"shared": "shared", "disjoint": "disjoint", "fac": "fac_relu"}
#: The official outputs by what they are with us; what no loss trains is left out.
OUTPUTS = {
    "shared": {"vid_embd/toaud": ("video", "vat"), "vid_embd/totxt": ("video", "vat"),
               "aud_embd/tovid": ("audio", "vat"), "aud_embd/totxt": ("audio", "vat"),
               "txt_embd/tovid": ("text", "vat"), "txt_embd/toaud": ("text", "vat")},
    "disjoint": {"vid_embd/toaud": ("video", "va"), "vid_embd/totxt": ("video", "vt"),
                 "aud_embd/tovid": ("audio", "va"), "txt_embd/tovid": ("text", "vt")},
    "fac": {"vid_embd/toaud": ("video", "va"), "vid_embd/totxt": ("video", "vat"), "aud_embd/tovid": ("audio", "va"),
            "aud_embd/totxt": ("audio", "vat"), "txt_embd/tovid": ("text", "vat")},
}  # fmt: skip


class Net(nn.Module):
    """Heads and words of a golden model, named as in MMV."""

    def __init__(self, graph: Name) -> None:
        super().__init__()
        self.graph = Graph(small(graph), WIDTHS)
        self.towers = nn.ModuleDict({"text": TextTower(tensor(GOLDEN["in/word_embedding_matrix"]), 12)})
        place = PLACE[graph]
        self.load_state_dict(from_release(under(GOLDEN, f"{place}/w/"), under(GOLDEN, f"{place}/state/"), graph=graph))

    def forward(self) -> dict[tuple[str, str], Tensor]:
        words = self.towers["text"](tensor(GOLDEN["in/word_ids"]).long())
        seen, heard = (tensor(GOLDEN[f"in/{key}_features"]) for key in ("video", "audio"))
        return self.graph({"video": seen, "audio": heard, "text": words})


def small(graph: Name, *, unit: bool = False) -> Config:
    return Config(graph=graph, hidden=6, va=8, vt=9, vat=4 if graph == "fac" else 8, unit=unit)


@pytest.mark.parametrize("graph", GRAPHS)
def test_outputs_are_the_official_ones(graph: Name) -> None:
    net = Net(graph)
    for mode in ("eval", "train"):
        outputs = net.train(mode == "train")()
        for name, key in OUTPUTS[graph].items():
            if (mode, graph, key) == ("train", "fac", ("audio", "vat")):
                assert key not in outputs
            else:
                assert distance(outputs[key], GOLDEN[f"{PLACE[graph]}/out/{mode}/{name}"]) < 1e-5


@pytest.mark.parametrize("graph", GRAPHS)
def test_gradients_are_the_official_ones(graph: Name) -> None:
    net = Net(graph).eval()
    for name, key in OUTPUTS[graph].items():
        net.zero_grad()
        stored = f"{PLACE[graph]}/grad_eval/{name.replace('/', '.')}"
        (net()[key] * tensor(GOLDEN[f"{stored}/cotangent"])).sum().backward()
        wanted = from_release(under(GOLDEN, f"{stored}/"), {}, graph=graph)
        for parameter, value in net.named_parameters():
            grad = torch.zeros_like(value) if value.grad is None else value.grad
            if wanted[parameter].any():
                assert distance(grad, wanted[parameter].numpy()) < 1e-5, parameter
            else:
                assert not grad.any(), parameter


@pytest.mark.parametrize("graph", GRAPHS)
def test_batch_statistics_are_the_official_ones(graph: Name) -> None:
    net, place = Net(graph), PLACE[graph]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None  # the plain average of all batches: after one, its statistics
            module.reset_running_stats()
    net.train()()
    after = under(GOLDEN, f"{place}/out/train/state_after_1_step_from_zero/")
    wanted = from_release(under(GOLDEN, f"{place}/w/"), after, graph=graph)
    averages = {name: value for name, value in net.state_dict().items() if "running" in name}
    assert len(averages) == {"shared": 4, "disjoint": 8, "fac": 6}[graph]
    for name, value in averages.items():
        unbiased = 5 / 4 if "var" in name else 1  # Haiku's variance divides by 5 clips, PyTorch's by 4
        assert distance(value, unbiased * wanted[name].numpy()) < 1e-5


def test_heads_have_the_published_numbers_of_parameters() -> None:
    heads = Graph(Config.paper(), {"video": 1024, "audio": 2048, "text": 2048}).heads
    counts = {name: sum(parameter.numel() for parameter in head.parameters()) for name, head in heads.items()}
    assert counts == {"video_va": 788_992, "va_vat": 131_840, "audio_va": 1_049_088, "text_vat": 524_544}


def test_each_graph_has_its_spaces_finest_first() -> None:
    found = {graph: [Graph(small(graph), WIDTHS).spaces(key) for key in WIDTHS] for graph in GRAPHS}
    assert found == {
        "shared": [("vat",), ("vat",), ("vat",)],
        "disjoint": [("va", "vt"), ("va",), ("vt",)],
        "fac": [("va", "vat"), ("va", "vat"), ("vat",)],
    }


def test_finest_common_space_comes_first() -> None:
    fac = Graph(small("fac"), WIDTHS)
    assert fac.common("video", "audio") == ("va", "vat")
    assert fac.common("text", "audio") == ("vat",) == fac.common("audio", "text") == fac.common("text", "video")
    assert Graph(small("disjoint"), WIDTHS).common("video", "video") == ("va", "vt")


def test_disjoint_graph_refuses_text_and_audio_and_names_the_missing_arrows() -> None:
    disjoint = Graph(small("disjoint"), WIDTHS)
    with pytest.raises(NoRoute, match=r"disjoint.*no arrow from text to va and none from audio to vt"):
        disjoint.common("text", "audio")
    with pytest.raises(NoRoute, match="no arrow from text to va"):
        disjoint.project("text", torch.zeros(1, 12), "va")


def test_text_of_the_fac_graph_has_no_fine_space() -> None:
    with pytest.raises(NoRoute, match="no arrow from text to va"):
        Graph(small("fac"), WIDTHS).project("text", torch.zeros(1, 12), "va")


@pytest.mark.parametrize(
    ("graph", "present", "spaces"),
    [
        ("fac", ("video", "audio"), [("va",), ("va",), ()]),
        ("fac", ("video", "text"), [("vat",), (), ("vat",)]),
        ("disjoint", ("video", "text"), [("vt",), (), ("vt",)]),
        ("shared", ("video", "audio"), [("vat",), ("vat",), ()]),
    ],
)
def test_space_that_no_loss_trains_is_not_offered(
    graph: Name, present: tuple[str, ...], spaces: list[tuple[str, ...]]
) -> None:
    model = Graph(small(graph), {key: WIDTHS[key] for key in present})
    assert [model.spaces(key) for key in WIDTHS] == spaces
    absent = next(key for key in WIDTHS if key not in present)
    with pytest.raises(NoRoute, match=f"has no {absent}"):
        model.common("video", absent)


def test_audio_reaches_the_coarse_space_through_the_very_head_of_video() -> None:
    torch.manual_seed(0)
    model = Graph(small("fac"), WIDTHS).eval()
    audio = torch.randn(3, 10)
    fine = model.project("audio", audio, "va")
    head = model.heads["va_vat"]
    by_hand = head.norm(head.linear(relu(fine)))
    torch.testing.assert_close(model.project("audio", audio, "vat"), by_hand)
    torch.testing.assert_close(model({"audio": audio})["audio", "vat"], by_hand)


def test_audio_stays_out_of_the_coarse_statistics_in_training() -> None:
    torch.manual_seed(0)
    given = {"video": torch.randn(4, 14), "audio": 100 * torch.randn(4, 10), "text": torch.randn(4, 12)}
    with_audio, without = (Graph(small("fac"), WIDTHS).train() for _ in range(2))
    without.load_state_dict(with_audio.state_dict())
    with_audio(given), without({key: given[key] for key in ("video", "text")})
    for name, value in with_audio.state_dict().items():
        torch.testing.assert_close(value, without.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("graph", GRAPHS)
def test_projecting_one_by_one_is_the_forward_in_evaluation(graph: Name) -> None:
    torch.manual_seed(0)
    model = Graph(small(graph), WIDTHS).eval()
    given = {key: torch.randn(3, width) for key, width in WIDTHS.items()}
    for (modality, space), value in model(given).items():
        torch.testing.assert_close(model.project(modality, given[modality], space), value)
        assert value.shape == (3, model.dim(space))


def test_bridge_from_unit_vectors_is_exact() -> None:
    torch.manual_seed(0)
    model = Graph(small("fac", unit=True), WIDTHS)
    for _ in range(3):
        model.train()({"video": 5 * torch.randn(16, 14)})
    model.eval()
    for modality, width in (("video", 14), ("audio", 10)):
        given = 9 * torch.randn(6, width)
        stored = normalize(model.project(modality, given, "va"))
        torch.testing.assert_close(model.bridge(stored), model.project(modality, given, "vat"), rtol=1e-5, atol=1e-6)


def test_paper_s_coarse_head_has_no_bridge_from_unit_vectors() -> None:
    with pytest.raises(NoRoute, match="unit=false"):
        Graph(small("fac"), WIDTHS).bridge(torch.zeros(1, 8))
    with pytest.raises(NoRoute, match="no arrow from va to vat"):
        Graph(small("disjoint"), WIDTHS).bridge(torch.zeros(1, 8))


@pytest.mark.parametrize("graph", GRAPHS)
def test_gradients_of_each_loss_go_where_the_graph_says(graph: Name) -> None:
    torch.manual_seed(0)
    reached = {}
    for term in ("va", "vt"):
        model = Graph(small(graph), WIDTHS)
        outputs = model({key: torch.randn(4, width) for key, width in WIDTHS.items()})
        text = TRAINED[graph]["video", "text"]
        outputs["text", text] = outputs["text", text][:, None]
        contrast(outputs, {}, replace(small(graph)))[term].backward()
        heads = {name for name, value in model.named_parameters() if value.grad is not None and bool(value.grad.any())}
        reached[term] = {name.split(".")[1] for name in heads}
    assert (
        reached
        == {
            "shared": {"va": {"video_vat", "audio_vat"}, "vt": {"video_vat", "text_vat"}},
            "disjoint": {"va": {"video_va", "audio_va"}, "vt": {"video_vt", "text_vt"}},
            "fac": {"va": {"video_va", "audio_va"}, "vt": {"video_va", "va_vat", "text_vat"}},
        }[graph]
    )


def test_sound_and_text_alone_meet_in_the_coarse_space_and_train_its_head() -> None:
    config = replace(small("fac"), video=None, weight_at=1.0)
    model = Graph(config, {key: WIDTHS[key] for key in ("audio", "text")})
    assert model.spaces("audio") == model.spaces("text") == ("vat",)
    outputs = model({key: torch.randn(4, WIDTHS[key]) for key in ("audio", "text")})
    outputs["text", "vat"] = outputs["text", "vat"][:, None]
    contrast(outputs, {}, config)["at"].backward()
    assert {name.split(".")[1] for name, value in model.named_parameters() if value.grad is not None} == {
        "audio_va",
        "va_vat",
        "text_vat",
    }


def test_a_loss_between_sound_and_text_is_asked_for_where_there_is_no_video() -> None:
    with pytest.raises(BadSpec, match="weight_at=1"):
        replace(small("fac"), video=None)
    with pytest.raises(BadSpec, match="a graph in which they meet"):
        replace(small("disjoint"), weight_at=1.0)
