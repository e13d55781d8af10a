"""timm backbones: the library's own numbers, clear refusals, and real weights on real data."""

import csv
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform

from quiver import registry
from quiver.encoders import timm as ours
from quiver.encoders._tower import Towers
from quiver.errors import BadSpec, MissingWeights

TINY = "test_efficientnet"


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)


def save(folder: Path, model: str = TINY, **changes: torch.Tensor | None) -> Path:
    """Save random weights, with some of them replaced, or left out where None."""
    state = timm.create_model(model).state_dict() | changes
    path = folder / "weights.safetensors"
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)
    return path


@pytest.mark.parametrize("model", [TINY, "test_vit"])
def test_vector_is_what_timm_gives_its_classifier(model: str, picture: np.ndarray) -> None:
    encoder = ours.load(model=model, pretrained=False, device="cpu")
    space = encoder.spaces("image")[0]
    torch.manual_seed(0)
    network = timm.create_model(model).eval()
    transform = create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        pixels = transform(Image.fromarray(picture))[None]
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True)[0].numpy()
    given = encoder.embed("image", [encoder.reader("image")(picture)], space)[0]
    np.testing.assert_allclose(given, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("crop", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("mode", ["center", "squash"])
def test_pixels_are_those_of_the_evaluation_transform(mode: str, crop: float, picture: np.ndarray) -> None:
    config = ours.Config(64, crop, mode, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    transform = create_transform(
        (3, 64, 64),
        crop_pct=crop,
        crop_mode=mode,
        interpolation="bilinear",
        mean=config.mean,
        std=config.std,
    )
    pixels = ours._centre(ours._reader(config)(picture), 64) / np.float32(255)
    expected = transform(Image.fromarray(picture)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose((pixels - config.mean) / config.std, expected, atol=1e-5)


def test_mean_and_std_scale_pixels(picture: np.ndarray) -> None:
    network = torch.nn.Linear(1, 1)  # pixels take the type of its weights
    network.forward_features = lambda pixels: pixels.mean(dim=(2, 3))
    network.forward_head = lambda features, pre_logits: features
    config = ours.Config(64, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    eye = ours._eye(network, config, torch.device("cpu"), "fp32", None)
    flat = np.full((64, 64, 3), (255, 255, 0), np.uint8)
    np.testing.assert_allclose(eye([flat, flat]), [[1, 2, -1]] * 2)


def test_random_weights_are_the_same_each_time_and_leave_the_callers_numbers_alone() -> None:
    torch.manual_seed(5)
    first = ours.load(model=TINY, pretrained=False, size=32)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert ours.load(model=TINY, pretrained=False, size=32).spaces("image") == first.spaces("image")


def test_preprocessing_is_part_of_the_revision(tmp_path: Path) -> None:
    spec = f"timm model={TINY} checkpoint='{save(tmp_path)}'"
    options = ["", "size=64", "mean=0.5", "std=0.5", "frames=3", "pad_type=same"]
    spaces = [registry.load("encoders", f"{spec} {option}").spaces("image")[0] for option in options]
    assert len({space.revision for space in spaces}) == len(options)
    assert {space.name for space in spaces} == {f"timm/{TINY}"}


def test_model_of_a_folder_is_loaded_from_it(tmp_path: Path) -> None:
    network = timm.create_model(TINY)
    timm.models.save_for_hf(network, tmp_path)
    encoder = ours.load(model=f"local-dir:{tmp_path}", size=32, device="cpu")
    with_file = ours.load(model=TINY, checkpoint=tmp_path / "pytorch_model.bin", size=32, device="cpu")
    blank = [np.zeros((32, 32, 3), np.uint8)]
    rows = [one.embed("image", blank, one.spaces("image")[0]) for one in (encoder, with_file)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_size_of_the_input_can_be_chosen_for_transformers_and_convolutions() -> None:
    for model in (TINY, "test_vit"):
        encoder = ours.load(model=model, pretrained=False, size=96)
        assert encoder.reader("image")(np.zeros((200, 300, 3), np.uint8)).shape == (96, 96, 3)


def test_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    def refusal(model: str = TINY, **changes: torch.Tensor | None) -> str:
        with pytest.raises(MissingWeights) as caught:
            ours.load(model=model, checkpoint=save(tmp_path, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "it lacks classifier.bias" in refusal(**{"classifier.bias": None})
    assert "it has the unknown extra" in refusal(extra=torch.zeros(1))
    assert "classifier.bias (7,) for (1000,)" in refusal(**{"classifier.bias": torch.zeros(7)})
    assert "more" in refusal(model="test_vit")


def test_checkpoint_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(MissingWeights, match=r"weights\.pth cannot be read as weights"):
        ours.load(model=TINY, checkpoint=path)
    with pytest.raises(MissingWeights, match="there is no such file"):
        ours.load(model=TINY, checkpoint=tmp_path / "absent.pth")


def test_weights_that_are_nowhere_are_missed_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeights, match=r"test_vit3\.r160_in1k .* give checkpoint=FILE") as caught:
        ours.load(model="test_vit3")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingWeights, match="comes without weights"):
        ours.load(model="test_mambaout")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("model=test_efficentnet", "did you mean test_efficientnet"),
        ("model=test_vit.nope", r"there are test_vit\.r160_in1k"),
        ("model=test_resnet pad_type=same pretrained=false", "takes no pad_type"),
        ("model=test_resnet pretrained=false mean=1,2", "one number or three"),
        ("model=test_resnet pretrained=false std=0", "positive"),
        ("model=test_resnet pretrained=false device=tpu", "auto, cpu, cuda"),
    ],
)
def test_spec_that_cannot_be_met_is_refused(spec: str, message: str) -> None:
    with pytest.raises(BadSpec, match=message):
        registry.load("encoders", f"timm {spec}")


@pytest.fixture(scope="module")
def mobilenet(packs: Path) -> Towers:
    weights = packs / "weights" / "mobilenetv2_100_imagenet1001.safetensors"
    options = "model=mobilenetv2_100 pad_type=same num_classes=1001 mean=0.5 std=0.5 frames=4"
    return registry.load("encoders", f"timm {options} checkpoint='{weights}'")


def rows_of(packs: Path, pack: str, count: int) -> list[dict[str, str]]:
    with (packs / pack / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = np.random.default_rng(5).permutation(len(rows))[:count]
    return [rows[place] for place in sorted(places)]


@pytest.mark.slow
@pytest.mark.data
def test_mobilenet_knows_types_and_genders_of_products(mobilenet: Towers, packs: Path) -> None:
    rows = rows_of(packs, "fashion_products", 600)
    read = mobilenet.reader("image")
    pictures = [read(packs / "fashion_products" / row["file"]) for row in rows]
    vectors = mobilenet.embed("image", pictures, mobilenet.space)
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    for label, floor in (("article_type", 0.70), ("gender", 0.78)):  # among all products 0.78 and 0.87
        labels = np.array([row[label] for row in rows])
        assert (labels[near.argmax(axis=1)] == labels).mean() > floor, label


@pytest.mark.slow
@pytest.mark.data
def test_mobilenet_finds_clips_from_stills(mobilenet: Towers, packs: Path) -> None:
    rows = rows_of(packs, "asl_video", 120)
    folder = packs / "asl_video"
    stills = [mobilenet.reader("image")(folder / row["still"]) for row in rows]
    clips = [mobilenet.reader("video")(folder / row["file"]) for row in rows]
    queries = mobilenet.embed("image", stills, mobilenet.space)
    near = queries @ mobilenet.embed("video", clips, mobilenet.space).T
    letters = np.array([row["letter"] for row in rows])
    assert (letters[near.argmax(axis=1)] == letters).mean() > 0.83  # measured 0.92; with all clips too
