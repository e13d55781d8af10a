"""Tiny random models on disk, one folder per kind, and what the tests do with them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from quiver.encoders.transformers import load

TEXTS = ["a red ball", "Two dogs run over the green grass while it rains", "x"]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_tokenizer(folder, *, length=77):
    """One token per character, upper and lower case apart."""
    marks = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate(marks + [chr(code) for code in range(32, 127)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = [("<bos>", 1), ("<eos>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=ends)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def write_model(folder, model_class, config):
    torch.manual_seed(0)
    model_class(config).eval().save_pretrained(folder)
    return folder


TEXT = {
    **SMALL,
    "vocab_size": 99,
    "max_position_embeddings": 77,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SEEN = {**SMALL, "image_size": 24, "patch_size": 8}


def clip(folder):
    write_tokenizer(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 31}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=SEEN, projection_dim=16)
    return write_model(folder, transformers.CLIPModel, config)


def siglip(folder):
    write_tokenizer(folder)
    transformers.SiglipImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=SEEN)
    return write_model(folder, transformers.SiglipModel, config)


def siglip2(folder):
    write_tokenizer(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 32}
    config = transformers.Siglip2Config(text_config=text, vision_config={**SMALL, "patch_size": 8, "num_patches": 16})
    return write_model(folder, transformers.Siglip2Model, config)


def xclip(folder):
    write_tokenizer(folder)
    transformers.VideoMAEImageProcessor(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}
    ).save_pretrained(folder)
    seen = {
        **SEEN,
        "mit_hidden_size": 32,
        "mit_intermediate_size": 48,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 4,
        "num_frames": 4,
    }
    config = transformers.XCLIPConfig(
        text_config=TEXT, vision_config=seen, projection_dim=32, prompt_layers=1, prompt_num_attention_heads=4
    )
    return write_model(folder, transformers.XCLIPModel, config)


def clap(folder, *, fusion=False):
    write_tokenizer(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=1600,
        hop_length=32,
        max_length_s=1,
        fft_window_size=64,
        frequency_max=800,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)
    heard = {
        "window_size": 4,
        "num_mel_bins": 16,
        "spec_size": 32,
        "patch_size": 2,
        "patch_stride": [2, 2],
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "enable_fusion": fusion,
    }
    config = transformers.ClapConfig(text_config=TEXT | {"type_vocab_size": 1}, audio_config=heard, projection_dim=24)
    return write_model(folder, transformers.ClapModel, config)


def dinov2(folder):
    transformers.BitImageProcessor(size={"shortest_edge": 31}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    config = transformers.Dinov2Config(**SEEN | {"mlp_ratio": 2})
    return write_model(folder, transformers.Dinov2Model, config)


def vit(folder):
    transformers.ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    network = transformers.ViTModel
    write_model(folder, lambda config: network(config, add_pooling_layer=False), transformers.ViTConfig(**SEEN))
    return folder


def bert(folder):
    write_tokenizer(folder)
    return write_model(folder, transformers.BertModel, transformers.BertConfig(**TEXT))


BUILD = {f.__name__: f for f in (clip, siglip, siglip2, xclip, clap, dinov2, vit, bert)}


def opened(folder, **options):
    return load(model=str(folder), device="cpu", **options)


def picture(height=61, width=90, seed=0):
    """Smooth colours with some noise, as in a photograph."""
    noise = np.random.default_rng(seed)
    coarse = Image.fromarray(noise.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + noise.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def sound(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def embedded(encoder, key, sources):
    reader = encoder.reader(key)
    return encoder.embed(key, [reader(source) for source in sources], *encoder.spaces(key))


def unit(rows):
    rows = torch.as_tensor(rows).double()
    return (rows / rows.norm(dim=-1, keepdim=True)).numpy()


def processed(folder, pictures, **options):
    processor = transformers.AutoImageProcessor.from_pretrained(folder, **options)
    return processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return folder(kind), build[kind](folder) and what stands above."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = BUILD[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return SimpleNamespace(
        folder=folder,
        build=BUILD,
        texts=TEXTS,
        text=TEXT,
        seen=SEEN,
        small=SMALL,
        write_tokenizer=write_tokenizer,
        write_model=write_model,
        opened=opened,
        picture=picture,
        sound=sound,
        embedded=embedded,
        unit=unit,
        processed=processed,
    )
