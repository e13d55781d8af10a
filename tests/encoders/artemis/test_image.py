import pytest
import torch

from quiver.encoders.artemis import image
from quiver.encoders.artemis.config import Config
from quiver.errors import BadSpec, MissingWeights


def tower(name: str, **changes):
    torch.manual_seed(0)
    return image.build(Config.tiny(image=name, size=64, **changes))


def pictures(count: int = 3, side: int = 73) -> torch.Tensor:
    return torch.randint(256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", ["timm:test_efficientnet", "timm:test_vit2", "torchvision:resnet18", "torchvision:mobilenet_v3_small"]
)
def test_backbones_of_every_kind_end_in_unit_vectors(name) -> None:
    model = tower(name).eval()
    rows = model(pictures())
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model(pictures()[1:2]), rows[1:2], atol=1e-5, rtol=1e-5)


def test_open_clip_backbone_brings_its_own_scale() -> None:
    model = tower("open_clip:RN50").eval()
    assert model(pictures(1)).shape == (1, 16)
    torch.testing.assert_close(model.mean.flatten() / 255, torch.tensor([0.48145466, 0.4578275, 0.40821073]))


def test_vectors_keep_their_length_where_asked() -> None:
    rows = tower("timm:test_efficientnet", image_unit=False).eval()(pictures())
    assert (rows.norm(dim=1) - 1).abs().min() > 1e-3


def test_evaluation_sees_the_centre_and_training_a_part_that_may_be_flipped() -> None:
    model = tower("timm:test_efficientnet")
    pixels = torch.arange(70 * 70).reshape(1, 1, 70, 70).expand(64, 3, 70, 70)
    torch.testing.assert_close(model._centre(pixels), pixels[:, :, 3:67, 3:67])
    torch.manual_seed(0)
    crops = model._augment(pixels)
    first, second = crops[:, 0, 0, 0], crops[:, 0, 0, -1]
    assert {(b - a).item() for a, b in zip(first, second, strict=True)} == {63, -63}
    corner = torch.minimum(first, second)
    assert {(c // 70).item() for c in corner} == set(range(7)) == {(c % 70).item() for c in corner}
    torch.testing.assert_close((crops[:, 0, 1:] - crops[:, 0, :-1]).unique(), torch.tensor([70]))


def test_generalised_mean_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [-5.0, 3.0]]]])
    assert image.gem(maps).item() == pytest.approx(((1 + 8 + 0 + 27) / 4) ** (1 / 3))


def test_unknown_backbone_is_refused_in_one_line() -> None:
    with pytest.raises(BadSpec, match="torchvision:resnet999"):
        tower("torchvision:resnet999")
    with pytest.raises(BadSpec, match="timm:nothing"):
        tower("timm:nothing")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torchvision:resnet50", "resnet50-0676ba61.pth"),  # IMAGENET1K_V1, of 2016, which the papers start from
        ("torchvision:resnet152", "resnet152-394f9c45.pth"),
        ("torchvision:resnet50/IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
    ],
)
def test_a_backbone_starts_from_the_weights_of_the_papers_unless_others_are_named(name, file, monkeypatch):
    asked = []

    def fetch(url, *args, **options):
        asked.append(url.rpartition("/")[2])
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with pytest.raises(MissingWeights, match="not on disk"):
        tower(name).pretrain()
    assert asked == [file]


def test_weights_that_torchvision_does_not_have_are_refused():
    with pytest.raises(BadSpec, match="torchvision:resnet18/IMAGENET1K_V9"):
        tower("torchvision:resnet18/IMAGENET1K_V9").pretrain()
