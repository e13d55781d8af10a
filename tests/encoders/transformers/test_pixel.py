import numpy as np
import pytest
import torch
import transformers

from quiver.encoders.transformers.pixel import eyes


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "vit", "deit", "dinov3"])
@pytest.mark.parametrize("backend", ["pil", "torchvision"])
@pytest.mark.parametrize("shape", [(61, 90), (90, 61), (24, 24), (31, 40), (20, 27)])
def test_pixels_are_those_of_the_library_to_two_grey_levels(kind, backend, shape, tmp_path, tiny):
    short = {"size": {"shortest_edge": 31}, "crop_size": {"height": 24, "width": 24}}
    square = {"size": {"height": 24, "width": 24}}
    squashed = {"size": {"height": 31, "width": 31}, "crop_size": short["crop_size"]}
    processor = {
        "clip": (transformers.CLIPImageProcessor, short),
        "siglip": (transformers.SiglipImageProcessor, square),
        "dinov2": (transformers.BitImageProcessor, short),
        "vit": (transformers.ViTImageProcessor, square),
        "deit": (transformers.DeiTImageProcessor, squashed),
        "dinov3": (transformers.DINOv3ViTImageProcessor, square),
    }[kind]
    processor[0](**processor[1]).save_pretrained(tmp_path)
    seen = eyes(tmp_path, torch.device("cpu"))
    assert seen.reader.size or seen.reader.shorter, "the picture is not resized in the worker"
    ours = seen.inputs([seen.reader(tiny.picture(*shape))])["pixel_values"]
    theirs = tiny.processed(tmp_path, [tiny.picture(*shape)], backend=backend)["pixel_values"]
    std = torch.tensor(processor[0]().image_std)[:, None, None]
    allowed = 1e-3 if backend == "pil" and kind != "dinov3" else 2
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs() * std * 255).max() <= allowed


def test_siglip2_gives_the_processor_whole_pictures(tiny):
    path, pictures = tiny.folder("siglip2"), [tiny.picture(), tiny.picture(90, 61, 1)]
    network = transformers.Siglip2Model.from_pretrained(path)
    with torch.inference_mode():
        wanted = network.get_image_features(**tiny.processed(path, pictures, backend="pil")).pooler_output
    np.testing.assert_allclose(tiny.embedded(tiny.opened(path), "image", pictures), tiny.unit(wanted), atol=1e-5)
