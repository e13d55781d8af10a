"""Shared by the tests of encoders: tiny models written to disk; the same seed gives the same weights.

Libraries are imported by the writers that need them, so that a test without a model starts at once. ONNX files are
written byte by byte, since nothing here can export them.
"""

import json
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

WriteOnnx = Callable[[Path, str, np.ndarray], Path]
#: A class of models, or what stands for one, and the configuration it is called with.
Recipe = tuple[Callable[[Any], Any], Any]

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {
    **SMALL,
    "vocab_size": 99,
    "max_position_embeddings": 77,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SEEN = {**SMALL, "image_size": 24, "patch_size": 8}


@pytest.fixture(scope="session")
def write_transformers() -> SimpleNamespace:
    """Write models of transformers: ``build[kind](folder, seed=0)`` and its parts; each returns the folder."""
    return SimpleNamespace(
        build={kind.__name__: partial(write_kind, kind) for kind in KINDS},
        small=SMALL,
        text=TEXT,
        write_model=write_model,
        write_tokenizer=write_tokenizer,
    )


@pytest.fixture(scope="session")
def write_sentence_transformers(
    tmp_path_factory: pytest.TempPathFactory, write_transformers: SimpleNamespace
) -> Callable[..., Path]:
    """Write a kind of KINDS as Sentence Transformers keeps it: CLIP as it is, of others the mean of their tokens."""

    def write(folder: Path, kind: str, *, seed: int = 0) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        plain = write_transformers.build[kind](tmp_path_factory.mktemp(kind), seed=seed)
        pooling = [] if kind == "clip" else [Pooling(SMALL["hidden_size"])]
        network = SentenceTransformer(modules=[Transformer(str(plain)), *pooling], device="cpu")
        network.save_pretrained(str(folder))
        return folder

    return write


@pytest.fixture(scope="session")
def write_open_clip() -> Callable[..., Path]:
    """Write a model as OpenCLIP publishes it: settings and weights in one folder."""

    def write(folder: Path, config: dict[str, Any], *, preprocess: dict[str, Any], seed: int = 0) -> Path:
        import open_clip
        import torch
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
            network = kind(**{name: value for name, value in config.items() if name != "custom_text"})
            save_file(network.state_dict(), folder / "open_clip_model.safetensors")
        return folder

    return write


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A Hub that does not answer, and nothing of it on disk; what is waited for is noted, and not waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", closed)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


@pytest.fixture(scope="session")
def write_onnx() -> WriteOnnx:
    """Write a convolution as an ONNX file.

    The kind ``patches`` takes (samples,) and gives (patches, c); ``sounds`` takes (n, samples) and gives
    (n, patches, c); both step by the kernel's width w, which is (c, 1, w). ``pictures`` takes (n, 3, h, w) and gives
    feature maps (n, c, h', w'); ``one`` is the same with n = 1; the kernel is (c, 3, w, w) and steps by 1.
    """

    def write(path: Path, kind: str, kernel: np.ndarray) -> Path:
        path.write_bytes(_model(kind, kernel.astype(np.float32)))
        return path

    return write


def _model(kind: str, kernel: np.ndarray) -> bytes:
    width = kernel.shape[-1]
    if kind in {"pictures", "one"}:
        shape: Sequence[int | str] = ("n" if kind == "pictures" else 1, 3, "h", "w")
        nodes = [_node("Conv", ["x", "kernel"], "y")]
        rank = 4
    elif kind == "sounds":
        shape, rank = ("n", "samples"), 3
        nodes = [
            _node("Unsqueeze", ["x", "one"], "a"),
            _node("Conv", ["a", "kernel"], "b", strides=[width]),
            _node("Transpose", ["b"], "y", perm=[0, 2, 1]),
        ]
    else:
        shape, rank = ("samples",), 2
        nodes = [
            _node("Unsqueeze", ["x", "front"], "a"),
            _node("Conv", ["a", "kernel"], "b", strides=[width]),
            _node("Squeeze", ["b", "zero"], "c"),
            _node("Transpose", ["c"], "y", perm=[1, 0]),
        ]
    constants = {"kernel": kernel, "zero": np.array([0]), "one": np.array([1]), "front": np.array([0, 1])}
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"tiny")
    graph += b"".join(_field(5, _tensor(name, value)) for name, value in constants.items())
    graph += _field(11, _value("x", shape)) + _field(12, _value("y", [f"d{axis}" for axis in range(rank)]))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # IR version, graph, opset 13


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    body = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    body += _field(4, kind.encode())
    for name, numbers in attributes.items():
        listed = b"".join(_field(8, number) for number in numbers)
        body += _field(5, _field(1, name.encode()) + listed + _field(20, 7))  # 7 is INTS
    return body


def _tensor(name: str, value: np.ndarray) -> bytes:
    kind = 1 if value.dtype == np.float32 else 7  # FLOAT or INT64
    dims = b"".join(_field(1, side) for side in value.shape)
    return dims + _field(2, kind) + _field(8, name.encode()) + _field(9, value.tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_field(1, _field(1, side) if isinstance(side, int) else _field(2, side.encode())) for side in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _field(number: int, value: int | bytes) -> bytes:
    """Encode one field of a protocol buffer."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def write_kind(kind: Callable[..., Recipe], folder: Path, *, seed: int = 0, **options: bool) -> Path:
    return write_model(folder, *kind(folder, **options), seed=seed)


def write_model(folder: Path, network: Callable[[Any], Any], config: Any, *, seed: int = 0) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network(config).eval().save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, length: int = 77) -> None:
    """One token per character, upper and lower case apart."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate(marks + [chr(code) for code in range(32, 127)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = [("<bos>", 1), ("<eos>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def clip(folder: Path) -> Recipe:
    import transformers

    write_tokenizer(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 31}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=SEEN, projection_dim=16)
    return transformers.CLIPModel, config


def siglip(folder: Path) -> Recipe:
    import transformers

    write_tokenizer(folder)
    transformers.SiglipImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=SEEN)
    return transformers.SiglipModel, config


def siglip2(folder: Path) -> Recipe:
    import transformers

    write_tokenizer(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 32}
    config = transformers.Siglip2Config(text_config=text, vision_config={**SMALL, "patch_size": 8, "num_patches": 16})
    return transformers.Siglip2Model, config


def xclip(folder: Path) -> Recipe:
    import transformers

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
    return transformers.XCLIPModel, config


def clap(folder: Path, *, fusion: bool = False) -> Recipe:
    import transformers

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
    return transformers.ClapModel, config


def dinov2(folder: Path) -> Recipe:
    import transformers

    transformers.BitImageProcessor(size={"shortest_edge": 31}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    config = transformers.Dinov2Config(**SEEN | {"mlp_ratio": 2})
    return transformers.Dinov2Model, config


def vit(folder: Path) -> Recipe:
    import transformers

    transformers.ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    network = partial(transformers.ViTModel, add_pooling_layer=False)
    return network, transformers.ViTConfig(**SEEN)


def bert(folder: Path) -> Recipe:
    import transformers

    write_tokenizer(folder)
    return transformers.BertModel, transformers.BertConfig(**TEXT)


def ast(folder: Path) -> Recipe:
    import transformers

    transformers.ASTFeatureExtractor(sampling_rate=8000, max_length=32, num_mel_bins=16).save_pretrained(folder)
    return transformers.ASTModel, transformers.ASTConfig(**SMALL, max_length=32, num_mel_bins=16)


KINDS = (clip, siglip, siglip2, xclip, clap, dinov2, vit, bert, ast)
