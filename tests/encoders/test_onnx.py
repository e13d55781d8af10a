"""ONNX files: arithmetic by hand, input and output forms, clear refusals, and YAMNet on real sounds."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quiver import registry
from quiver.encoders import _onnx, onnx
from quiver.encoders._pool import unit
from quiver.errors import BadMedia, BadSpec, MissingWeights

Write = Callable[[Path, str, np.ndarray], Path]


@pytest.fixture
def wave(tmp_path: Path, write_onnx: Write) -> tuple[Path, np.ndarray]:
    kernel = np.random.default_rng(0).normal(size=(4, 1, 8)).astype(np.float32)
    return write_onnx(tmp_path / "wave.onnx", "patches", kernel), kernel


@pytest.fixture
def kernel() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, 3, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", ["patches", "sounds"])
def test_sound_is_the_mean_of_its_patches(kind: str, tmp_path: Path, write_onnx: Write) -> None:
    kernel = np.random.default_rng(0).normal(size=(4, 1, 8)).astype(np.float32)
    file = write_onnx(tmp_path / "net.onnx", kind, kernel)
    encoder = onnx.load(file=file, input="waveform")
    sounds = [np.random.default_rng(n).normal(size=8 * n).astype(np.float32) for n in (3, 5, 3, 1)]
    expected = [(sound.reshape(-1, 8) @ kernel[:, 0].T).mean(axis=0) for sound in sounds]
    given = encoder.embed("audio", sounds, encoder.spaces("audio")[0])
    np.testing.assert_allclose(given, unit(np.stack(expected)), atol=1e-5)


@pytest.mark.parametrize("kind", ["pictures", "one"])
def test_picture_is_the_mean_of_its_feature_map(
    kind: str, tmp_path: Path, write_onnx: Write, kernel: np.ndarray
) -> None:
    file = write_onnx(tmp_path / "net.onnx", kind, kernel)
    encoder = onnx.load(file=file, input="image", size=6, mean="0.5,0.4,0.3", std="0.2")
    pictures = list(np.random.default_rng(2).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8))
    pixels = (np.stack(pictures) / 255 - [0.5, 0.4, 0.3]) / 0.2
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (2, 2), axis=(1, 2))
    expected = np.einsum("nhwcij,dcij->nd", windows, kernel)
    given = encoder.embed("image", pictures, encoder.spaces("image")[0])
    np.testing.assert_allclose(given, unit(expected), atol=1e-5)


def test_short_sound_is_filled_up_with_silence(wave: tuple[Path, np.ndarray]) -> None:
    encoder = onnx.load(file=wave[0], input="waveform", min_samples=24)
    sound = np.ones(8, np.float32)
    padded = np.pad(sound, (0, 16))
    rows = encoder.embed("audio", [sound, padded], encoder.spaces("audio")[0])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_sound_too_short_for_the_model_is_refused(wave: tuple[Path, np.ndarray]) -> None:
    encoder = onnx.load(file=wave[0], input="waveform")
    with pytest.raises(BadMedia, match=r"wave\.onnx"):
        encoder.embed("audio", [np.ones(5, np.float32)], encoder.spaces("audio")[0])


def test_space_is_named_for_the_file_and_measured_from_it(wave: tuple[Path, np.ndarray]) -> None:
    space = onnx.load(file=wave[0], input="waveform").spaces("audio")[0]
    assert (space.name, space.dim) == ("onnx/wave", 4)


def test_revision_does_not_depend_on_the_place_of_the_file(wave: tuple[Path, np.ndarray]) -> None:
    copy = wave[0].parent / "elsewhere" / "wave.onnx"
    copy.parent.mkdir()
    copy.write_bytes(wave[0].read_bytes())
    first, second = (onnx.load(file=file, input="waveform").spaces("audio") for file in (wave[0], copy))
    assert first == second
    (copy.parent / "wave.onnx.data").write_bytes(b"other weights")
    assert onnx.load(file=copy, input="waveform").spaces("audio") != first
    assert onnx.load(file=wave[0], input="waveform", rate=8000).spaces("audio") != first


def test_at_most_so_many_seconds_are_read(wave: tuple[Path, np.ndarray]) -> None:
    reader = onnx.load(file=wave[0], input="waveform", rate=8000, seconds=0.5).reader("audio")
    assert reader(np.zeros(9000, np.float32)).shape == (4000,)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"hello")
    with pytest.raises(BadSpec, match=r"bad\.onnx is no ONNX model") as caught:
        onnx.load(file=bad, input="image")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingWeights, match="no such file"):
        onnx.load(file=tmp_path / "absent.onnx", input="image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("input=image", "which is no image"),
        ("input=waveform output=z", "has no output 'z': there are y"),
        ("input=smell", "waveform, image"),
    ],
)
def test_model_of_another_kind_is_refused(options: str, message: str, wave: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(BadSpec, match=message):
        registry.load("encoders", f"onnx file='{wave[0]}' {options}")


def test_wrong_layout_is_refused(tmp_path: Path, write_onnx: Write, kernel: np.ndarray) -> None:
    file = write_onnx(tmp_path / "net.onnx", "pictures", kernel)
    with pytest.raises(BadSpec, match=r"net\.onnx does not take an input of \(2, 6, 6, 3\)"):
        onnx.load(file=file, input="image", size=6, layout="nhwc")


@pytest.mark.slow
@pytest.mark.data
def test_yamnet_finds_sounds_of_the_same_kind(packs: Path) -> None:
    weights = packs / "weights" / "yamnet.onnx"
    encoder = registry.load("encoders", f"onnx file='{weights}' input=waveform min_samples=15600")
    with (packs / "esc10" / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = encoder.reader("audio")
    sounds = [read(packs / "esc10" / row["file"]) for row in rows]
    vectors = encoder.embed("audio", sounds, encoder.spaces("audio")[0])
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    labels = np.array([row["label"] for row in rows])
    assert vectors.shape[1] == 1024
    assert (labels[near.argmax(axis=1)] == labels).mean() > 0.96  # measured 0.978


def test_the_largest_patch_counts_where_asked(tmp_path: Path, write_onnx: Write) -> None:
    kernel = np.random.default_rng(4).normal(size=(4, 1, 8))
    file = write_onnx(tmp_path / "m.onnx", "patches", kernel)
    sound = np.random.default_rng(5).normal(size=800).astype(np.float32)
    vectors = {}
    for pool in ("mean", "max"):
        encoder = onnx.load(file=file, input="waveform", pool=pool, min_samples=100)
        vectors[pool] = encoder.embed("audio", [sound], encoder.spaces("audio")[0])[0]
    largest = (sound.reshape(-1, 8) @ kernel[:, 0].T).max(axis=0)
    np.testing.assert_allclose(vectors["max"], largest / np.linalg.norm(largest), atol=1e-5)
    assert not np.allclose(vectors["mean"], vectors["max"], atol=1e-2)


# ---- several inputs, texts, and devices; models are built with the package onnx


def network(path: Path, nodes: list, inputs: dict, output: tuple, **constants: np.ndarray) -> Path:
    """Write a model: ``inputs`` are (type, shape) by name, ``output`` is (name, shape)."""
    import onnx as library
    from onnx import TensorProto, helper, numpy_helper

    types = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, types[kind], shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    library.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    library.save(model, path)
    return path


def tokens_model(path: Path, table: np.ndarray, *, length: int | str = "length", kinds: bool = False) -> Path:
    """Write a model that looks words up, and adds the mask and, if asked, the segment to every number."""
    from onnx import helper

    inputs = {"input_ids": ("int64", ["n", length]), "attention_mask": ("int64", ["n", length])}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
    last = "words"
    for name in ["attention_mask", *(["token_type_ids"] if kinds else [])]:
        inputs[name] = ("int64", ["n", length])
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_f"], to=1),
            helper.make_node("Unsqueeze", [f"{name}_f", "axis"], [f"{name}_u"]),
            helper.make_node("Add", [last, f"{name}_u"], [f"{last}+"]),
        ]
        last += "+"
    nodes.append(helper.make_node("Identity", [last], ["hidden"]))
    return network(path, nodes, inputs, ("hidden", ["n", length, 3]), table=table, axis=np.array([2]))


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(9, 3)).astype(np.float32)


def write_words(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "hat", "blue", "shoe", "query:"]
    vocabulary = {name: place for place, name in enumerate(names)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(length=20)  # as many published files do; here no text is padded
    made.save(str(folder / "tokenizer.json"))
    return folder


TEXTS = {"red hat": [2, 4, 5, 3], "blue shoe": [2, 6, 7, 3], "red": [2, 4, 3]}


@pytest.mark.parametrize(
    ("pool", "join"),
    [
        ("mean", lambda rows: rows.mean(axis=0)),
        ("max", lambda rows: rows.max(axis=0)),
        ("first", lambda rows: rows[0]),
        ("last", lambda rows: rows[-1]),
    ],
)
def test_a_text_is_what_its_pooling_makes_of_its_tokens(pool, join, tmp_path: Path, table: np.ndarray) -> None:
    file = tokens_model(write_words(tmp_path) / "model.onnx", table, kinds=True)
    encoder = onnx.load(file=file, input="text", pool=pool)
    (space,) = encoder.spaces("text")
    given = encoder.embed("text", [encoder.reader("text")(text) for text in TEXTS], space)
    expected = [join(table[ids] + 1) for ids in TEXTS.values()]  # the mask adds 1, the segment 0
    np.testing.assert_allclose(given, unit(np.stack(expected)), atol=1e-5)


def test_what_a_checkpoint_says_of_its_pooling_counts_and_nothing_is_guessed(tmp_path: Path, table: np.ndarray) -> None:
    # As the Hub keeps it: the file in onnx/, tokenizer and pooling beside that folder.
    file = tokens_model(write_words(tmp_path) / "onnx" / "model.onnx", table)
    with pytest.raises(BadSpec, match=r"no 1_Pooling/config.json says .* give pool=mean, first, last or max"):
        onnx.load(file=file, input="text")
    (tmp_path / "1_Pooling").mkdir()
    told = tmp_path / "1_Pooling" / "config.json"
    told.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    encoder = onnx.load(file=file, input="text")
    given = encoder.embed("text", ["red"], encoder.spaces("text")[0])
    np.testing.assert_allclose(given, unit(table[[2]] + 1), atol=1e-5)
    told.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}')
    with pytest.raises(BadSpec, match="joins several poolings"):
        onnx.load(file=file, input="text")


def test_a_text_model_of_one_length_takes_padding_that_changes_nothing(tmp_path: Path, table: np.ndarray) -> None:
    file = tokens_model(write_words(tmp_path) / "model.onnx", table, length=6)
    encoder = onnx.load(file=file, input="text", pool="mean")
    given = encoder.embed("text", ["red", "red hat blue shoe red hat"], encoder.spaces("text")[0])
    cut = [2, 4, 5, 6, 7, 3]
    expected = [(table[ids] + 1).mean(axis=0) for ids in ([2, 4, 3], cut)]
    np.testing.assert_allclose(given, unit(np.stack(expected)), atol=1e-5)


def test_queries_may_have_a_prompt_of_their_own(tmp_path: Path, table: np.ndarray) -> None:
    file = tokens_model(write_words(tmp_path) / "model.onnx", table)
    encoder = onnx.load(file=file, input="text", pool="mean", query="query: ")
    (space,) = encoder.spaces("text")
    asked = encoder.embed_query("text", ["red"], space)  # type: ignore[attr-defined]
    np.testing.assert_allclose(asked, unit((table[[2, 8, 4, 3]] + 1).mean(axis=0, keepdims=True)), atol=1e-5)
    plain = onnx.load(file=file, input="text", pool="mean")
    assert plain.spaces("text") == encoder.spaces("text")  # stored texts are the same
    assert onnx.load(file=file, input="text", pool="mean", prompt="query: ").spaces("text") != plain.spaces("text")
    assert onnx.load(file=file, input="text", pool="max").spaces("text") != plain.spaces("text")


def test_a_text_model_without_its_tokenizer_or_with_foreign_inputs_is_refused(tmp_path: Path, table) -> None:
    from onnx import helper

    file = tokens_model(tmp_path / "model.onnx", table)
    with pytest.raises(MissingWeights, match=r"tokenizer\.json: copy the tokenizer"):
        onnx.load(file=file, input="text", pool="mean")
    nodes = [helper.make_node("Add", ["x", "y"], ["z"])]
    other = network(tmp_path / "o.onnx", nodes, {name: ("float", ["n", 2]) for name in "xy"}, ("z", ["n", 2]))
    with pytest.raises(BadSpec, match="takes x, y: a text model takes input_ids"):
        onnx.load(file=other, input="text")


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    """A model of sounds, their rate and their lengths: samples (n, 4) times rate, minus length."""
    from onnx import helper

    nodes = [
        helper.make_node("Mul", ["sound", "sr"], ["a"]),
        helper.make_node("Cast", ["lengths"], ["b"], to=1),
        helper.make_node("Unsqueeze", ["b", "axis"], ["c"]),
        helper.make_node("Sub", ["a", "c"], ["y"]),
    ]
    inputs = {"sound": ("float", ["n", 4]), "sr": ("float", [1]), "lengths": ("int64", ["n"])}
    return network(tmp_path / "rated.onnx", nodes, inputs, ("y", ["n", 4]), axis=np.array([1]))


def test_further_inputs_are_given_by_name(rated: Path) -> None:
    encoder = onnx.load(file=rated, input="waveform", feed="sound", also="sr=3,lengths=length", rate=8000)
    sounds = [np.array(row, np.float32) for row in ([1, 2, 3, 5], [0, 1, 0, 2])]
    given = encoder.embed("audio", sounds, encoder.spaces("audio")[0])
    np.testing.assert_allclose(given, unit(np.stack(sounds) * 3 - 4), atol=1e-6)
    other = onnx.load(file=rated, input="waveform", feed="sound", also="sr=2,lengths=length", rate=8000)
    assert other.spaces("audio") != encoder.spaces("audio")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "takes sound, sr, lengths: an encoder has one input; say which with feed=NAME"),
        ({"feed": "sound"}, "also takes sr, lengths: give also=sr=NUMBER"),
        ({"feed": "noise"}, "has no input 'noise': there are sound, sr, lengths"),
        ({"feed": "sound", "also": "sr=high"}, "'sr=high' is not NAME=NUMBER or NAME=length"),
        ({"feed": "sound", "also": "sr=1,lengths=0,x=1"}, "has no input 'x'"),
    ],
)
def test_inputs_that_nobody_gives_are_named(rated: Path, options: dict, says: str) -> None:
    with pytest.raises(BadSpec, match=says):
        onnx.load(file=rated, input="waveform", **options)


GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("device", "providers", "available", "taken"),
    [
        ("auto", "", GPU, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("auto", "", CPU, ["CPUExecutionProvider"]),
        ("auto", "", ["ROCMExecutionProvider", *CPU], ["ROCMExecutionProvider", "CPUExecutionProvider"]),
        ("cpu", "", GPU, ["CPUExecutionProvider"]),
        ("cuda:3", "", GPU, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("auto", "TensorrtExecutionProvider, CUDAExecutionProvider", GPU, GPU[:2]),
        ("cuda", "", CPU, "install onnxruntime-gpu, or use device=cpu"),
        ("auto", "CUDAExecutionProvider", CPU, "this ONNX Runtime has Azure.*, not CUDAExecutionProvider"),
        ("gpu", "", GPU, "device must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_the_provider_is_that_of_the_device(device, providers, available, taken) -> None:
    if isinstance(taken, str):
        with pytest.raises(BadSpec, match=taken):
            _onnx.chosen(device, providers, available=available)
    else:
        assert _onnx.chosen(device, providers, available=available) == taken


def test_a_provider_of_this_machine_may_be_named(wave: tuple[Path, np.ndarray], monkeypatch) -> None:
    named = onnx.load(file=wave[0], input="waveform", providers="CPUExecutionProvider")
    assert named.spaces("audio") == onnx.load(file=wave[0], input="waveform", device="cpu").spaces("audio")
    with pytest.raises(BadSpec, match="not CUDAExecutionProvider"):
        registry.load("encoders", f"onnx file='{wave[0]}' input=waveform providers=CUDAExecutionProvider")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert _onnx.number("cuda:2") == 2
