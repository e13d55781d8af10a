import numpy as np
import pytest
import torch
import transformers

from quiver.encoders.transformers.contrastive import AT_ONCE, cut
from quiver.errors import BadSpec


def test_clip_agrees_with_the_library(tiny):
    path, pictures = tiny.folder("clip"), [tiny.picture(), tiny.picture(90, 61, 1)]
    encoder, network = tiny.opened(path), transformers.CLIPModel.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.inference_mode():
        images = network.get_image_features(**tiny.processed(path, pictures, backend="pil")).pooler_output
        texts = network.get_text_features(**tokenizer(tiny.texts, padding=True, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(tiny.embedded(encoder, "image", pictures), tiny.unit(images), atol=1e-5)
    np.testing.assert_allclose(tiny.embedded(encoder, "text", tiny.texts), tiny.unit(texts), atol=1e-5)
    assert encoder.spaces("text") == encoder.spaces("image") == encoder.spaces("video")
    assert encoder.spaces("text")[0].dim == 16


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_text_is_lower_cased_and_padded_without_a_mask(kind, tiny):
    path = tiny.folder(kind)
    encoder = tiny.opened(path)
    network = transformers.AutoModel.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, padding_side="right")
    ids = tokenizer([t.lower() for t in tiny.texts], padding="max_length", max_length=64, return_tensors="pt").input_ids
    with torch.inference_mode():
        wanted = network.get_text_features(input_ids=ids).pooler_output
    np.testing.assert_allclose(tiny.embedded(encoder, "text", tiny.texts), tiny.unit(wanted), atol=1e-5)
    np.testing.assert_array_equal(tiny.embedded(encoder, "text", ["A Cat"]), tiny.embedded(encoder, "text", ["a cat"]))


def test_clip_text_keeps_its_case(tiny):
    encoder = tiny.opened(tiny.folder("clip"))
    assert np.abs(tiny.embedded(encoder, "text", ["A Cat"]) - tiny.embedded(encoder, "text", ["a cat"])).max() > 1e-3


@pytest.mark.parametrize("kind", ["clip", "siglip", "xclip", "clap", "bert"])
def test_padding_changes_no_text(kind, tiny):
    encoder = tiny.opened(tiny.folder(kind))
    together = tiny.embedded(encoder, "text", tiny.texts)
    alone = np.concatenate([tiny.embedded(encoder, "text", [text]) for text in tiny.texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov2", "vit"])
def test_a_video_of_one_repeated_frame_is_its_image(kind, tiny):
    encoder, frame = tiny.opened(tiny.folder(kind)), tiny.picture()
    still = encoder.reader("image")(frame)
    space = encoder.spaces("image")[0]
    clips = [np.stack([still] * 3), np.stack([still] * (AT_ONCE + 1))]
    image = encoder.embed("image", [still], space)
    np.testing.assert_allclose(encoder.embed("video", clips, space), image.repeat(2, 0), atol=1e-5)


def test_a_video_is_the_mean_of_the_unit_vectors_of_its_frames(tiny):
    encoder = tiny.opened(tiny.folder("clip"))
    frames = np.stack([encoder.reader("image")(tiny.picture(seed=seed)) for seed in range(3)])
    space = encoder.spaces("video")[0]
    each = encoder.embed("image", list(frames), space)
    np.testing.assert_allclose(encoder.embed("video", [frames], space)[0], tiny.unit(each.mean(0)), atol=1e-6)


def test_xclip_video_agrees_with_the_library(tiny):
    path = tiny.folder("xclip")
    encoder = tiny.opened(path)
    assert encoder.keys == ("text", "video")
    clips = [[tiny.picture(seed=4 * clip + frame) for frame in range(4)] for clip in range(2)]
    reader = encoder.reader("video")
    assert reader.frames == 4
    ours = encoder.embed(
        "video", [np.stack([reader.image(f) for f in clip]) for clip in clips], *encoder.spaces("video")
    )
    network = transformers.XCLIPModel.from_pretrained(path)
    processor = transformers.AutoImageProcessor.from_pretrained(path, backend="pil")
    pixels = torch.cat([processor(clip, return_tensors="pt").pixel_values.reshape(1, 4, 3, 24, 24) for clip in clips])
    with torch.inference_mode():
        wanted = network.get_video_features(pixels).pooler_output
    np.testing.assert_allclose(ours, tiny.unit(wanted), atol=1e-5)
    with pytest.raises(BadSpec, match="made for 4 frames, not 8"):
        tiny.opened(path, frames=8)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_agrees_with_the_library_on_short_sounds(fusion, tmp_path, tiny):
    path = tiny.build["clap"](tmp_path, fusion=fusion)
    sounds = [tiny.sound(900), tiny.sound(1600, 1)]
    encoder = tiny.opened(path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(path)
    inputs = extractor(sounds, sampling_rate=1600, return_tensors="pt")
    with torch.inference_mode():
        wanted = transformers.ClapModel.from_pretrained(path).get_audio_features(
            inputs["input_features"].float(), is_longer=torch.zeros(2, 1, dtype=torch.bool)
        )
    ours = encoder.embed("audio", sounds, *encoder.spaces("audio"))
    np.testing.assert_allclose(ours, tiny.unit(wanted.pooler_output), atol=1e-5)
    assert encoder.keys == ("text", "audio")
    assert encoder.reader("audio").rate == 1600


def test_a_long_sound_is_the_mean_of_its_windows(tiny):
    encoder = tiny.opened(tiny.folder("clap"))
    space = encoder.spaces("audio")[0]
    long = tiny.sound(4000)
    windows = encoder.embed("audio", [long[:1600], long[1200:2800], long[2400:]], space)
    ours = encoder.embed("audio", [long, long], space)
    np.testing.assert_allclose(ours[0], tiny.unit(windows.mean(0)), atol=1e-5)
    np.testing.assert_array_equal(ours[0], ours[1])


def test_windows_cover_a_sound(tiny):
    assert [w.tolist() for w in cut(np.arange(5), 2)] == [[0, 1], [1, 2], [3, 4]]
    assert [len(w) for w in cut(np.arange(6), 6)] == [6]


CONVOLUTIONS = {
    "image_size": 32, "hidden_dim": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "kernel_sizes": [3],
    "in_channels": [8], "out_channels": [8], "strides": [1], "num_block_repeats": [1], "expand_ratios": [1],
    "depthwise_padding": [],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["align", "altclip", "chinese_clip", "metaclip_2"])
def test_the_kin_of_clip_embed_each_item_by_itself(kind, tmp_path, tiny):
    tiny.write_tokenizer(tmp_path)
    square = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(tmp_path)
    text = tiny.text | ({"project_dim": 32} if kind == "altclip" else {})
    seen = CONVOLUTIONS if kind == "align" else {**tiny.small, "image_size": 32, "patch_size": 8}
    config = transformers.AutoConfig.for_model(kind, text_config=text, vision_config=seen, projection_dim=16)
    encoder = tiny.opened(tiny.write_model(tmp_path, transformers.AutoModel.from_config, config))
    assert encoder.keys == ("text", "image", "video")
    for key, sources in {"text": tiny.texts, "image": [tiny.picture(seed=1), tiny.picture(90, 61, 2)]}.items():
        rows = tiny.embedded(encoder, key, sources)
        np.testing.assert_allclose(rows[1:], tiny.embedded(encoder, key, sources[1:]), atol=1e-6)
        assert np.abs(rows[0] - rows[1]).max() > 1e-6
