"""What every encoder keeps to. A new one enrols with a line in CASES."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.encoders import families

from quiver import registry
from quiver.errors import QuiverError, SpaceMismatch
from quiver.protocols import Encoder
from quiver.types import KEYS, Space

#: Writes what an encoder needs into a folder and returns its options; another seed, other weights.
Build = Callable[[pytest.FixtureRequest, Path, int], str]


def classic(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    return f"dim={64 + seed}"  # it has no weights; its width stands for them


def motion(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    return f"frames={4 + seed}"  # as classic


def timm(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(timm.create_model("test_efficientnet").state_dict(), folder / "timm.safetensors")
    return f"model=test_efficientnet size=64 frames=2 checkpoint='{folder}/timm.safetensors'"


def onnx(kind: str, shape: tuple[int, ...], options: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        kernel = np.random.default_rng(seed).normal(size=shape)
        path = request.getfixturevalue("write_onnx")(folder / f"{kind}.onnx", kind, kernel)
        return f"file='{path}' {options}"

    return build


def open_clip(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16},
        "text_cfg": {"layers": 2, "width": 32, "heads": 2},
    }
    write = request.getfixturevalue("write_open_clip")
    return f"model='local-dir:{write(folder / str(seed) / 'tiny', config, preprocess={}, seed=seed)}' frames=2"


def transformers(kind: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        write = request.getfixturevalue("write_transformers").build[kind]
        return f"model='{write(folder / str(seed) / kind, seed=seed)}'"  # the folder's name is that of the space

    return build


def sentence_transformers(kind: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        write = request.getfixturevalue("write_sentence_transformers")
        return f"model='{write(folder / str(seed) / kind, kind, seed=seed)}'"

    return build


def family(name: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        return f"model='{getattr(families, name)(folder / str(seed) / name, seed=seed)}'"

    return build


def mmv(graph: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        import torch

        from quiver.encoders.mmv.config import Config
        from quiver.encoders.mmv.model import MMV
        from quiver.encoders.mmv.word import Words

        words = Words.gather(["a ball is rolling"], width=8, buckets=8)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            MMV(Config.tiny(graph), words=words).save_pretrained(folder / graph)
        return f"checkpoint='{folder / graph}' windows=2"

    return build


def fashionbert(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    import torch

    from quiver.encoders._patch.extract import Extractor
    from quiver.encoders._pieces import Pieces
    from quiver.encoders.fashionbert.config import Config
    from quiver.encoders.fashionbert.model import FashionBert

    pieces = Pieces.train(["a ball in the grass, and a red one", f"number {seed}"], size=90)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FashionBert(replace(Config.tiny(), vocabulary=len(pieces), feature=48))
    model.pieces = pieces
    model.save_pretrained(folder / "fashionbert")
    Extractor(features="pixels", side=4, rows=2, columns=2).write(folder / "fashionbert")
    return f"checkpoint='{folder}/fashionbert'"


def oscar(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    import hashlib

    import torch

    from quiver.encoders._pieces import Pieces
    from quiver.encoders.fashionbert.oscar import Config, Oscar
    from quiver.encoders.oscar import save_regions

    pieces = Pieces.train(["a ball in the grass, and a red one", f"number {seed}"], size=90)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Oscar(replace(Config.tiny(), vocabulary=len(pieces)))
    model.pieces = pieces
    model.save_pretrained(folder / "oscar")
    (folder / "regions").mkdir(exist_ok=True)
    for number, picture in enumerate([*sources("image"), blank("image")]):
        rng = np.random.default_rng(number)
        name = hashlib.sha256(picture.tobytes()).hexdigest()
        save_regions(
            folder / "regions" / f"{name}.npz",
            features=rng.normal(size=(2 + number, 16)),
            boxes=np.sort(rng.uniform(0, 32, (2 + number, 2, 2)), axis=1).reshape(-1, 4),
            size=(32, 32),
            tags=["ball", "grass"][: number + 1],
        )
    return f"checkpoint='{folder}/oscar' regions='{folder}/regions' most=4"


def cross_encoder(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    import transformers

    write = request.getfixturevalue("write_transformers")
    write.write_tokenizer(folder)
    config = transformers.BertConfig(**write.text, num_labels=1)
    write.write_model(folder, transformers.BertForSequenceClassification, config, seed=seed)
    return f"model='{folder}' characters={100 + seed}"  # what is stored does not depend on the model


def artemis(composer: str, **changes: object) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        import torch

        from quiver.encoders.artemis.config import Config
        from quiver.encoders.artemis.model import Model

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            Model(Config.tiny(composer, **changes)).save_pretrained(folder / composer)
        return f"checkpoint='{folder / composer}'"

    return build


def two_tower(text: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        import torch

        from quiver.encoders import _frozen
        from quiver.encoders.two_tower import base
        from quiver.encoders.two_tower.config import Base, Config
        from quiver.encoders.two_tower.model import TwoTower

        towers = {}
        for key, said in (("text", text), ("image", "classic")):
            spec, words = base.parse(said)
            ground = _frozen.open(spec, key)
            towers[key] = Base(spec=spec, width=ground.width, revision=ground.revision, words=words)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = TwoTower(replace(Config.tiny(), towers=towers))
            for bag in filter(None, (tower.bag for tower in model.towers.values())):
                torch.nn.init.normal_(bag.table.weight)
        model.save_pretrained(folder / "two_tower")
        return f"checkpoint='{folder}/two_tower'"

    return build


def clip4idc(kind: str, *, tells: bool = False) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        import torch

        from quiver.encoders._patch.extract import Extractor, open
        from quiver.encoders._pieces import Pieces
        from quiver.encoders.clip4idc.config import Config
        from quiver.encoders.clip4idc.model import Clip4Idc
        from quiver.encoders.clip4idc.words import Learnt

        pieces = Pieces.train(["a ball in the grass turned red", "zwei rote bälle", f"number {seed}"], size=90)
        config = Config.tiny()
        if kind == "features":
            extractor = Extractor(features="pixels", side=4, rows=2, columns=2)
            source = open(extractor)
            extractor.write(folder / kind)
            seen = replace(config.vision, patch=0, feature=source.width, source=source.revision)
            config = replace(config, vision=seen)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = Clip4Idc(replace(config, text=replace(config.text, vocabulary=len(pieces))))
        model.words = Learnt(pieces)
        model.save_pretrained(folder / kind)
        if tells:
            from quiver.encoders.clip4idc.caption_config import Writer
            from quiver.encoders.clip4idc.caption_recipe import Captioning
            from quiver.encoders.clip4idc.caption_train import build as writer

            sizes = Writer(width=16, heads=2, inner=16, layers=1)
            made = writer(model, model.words, Captioning(writer=sizes, length=12), seed=seed)
            made.save(folder / kind / "caption", made.config)
        return f"checkpoint='{folder / kind}'" + " rerank=true" * tells

    return build


def map_ivr(**changes: object) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        import torch

        from quiver.encoders import _frozen
        from quiver.encoders.map_ivr.config import Config, Features
        from quiver.encoders.map_ivr.model import MapIvr

        sides = {}
        for side, spec in (("image", "classic"), ("video", "classic frames=2 + motion frames=2")):
            frozen = _frozen.open(spec, side)
            sides[side] = Features(spec=spec, width=frozen.width, revision=frozen.revision)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            MapIvr(replace(Config.tiny(**changes), **sides)).save_pretrained(folder / "map_ivr")
        return f"checkpoint='{folder}/map_ivr'"

    return build


#: By the name of the encoder, and what tells one case of it from another.
CASES: dict[str, Build] = {
    "classic": classic,
    "motion": motion,
    "timm": timm,
    "artemis of features": artemis("artemis", image="features:1120", image_spec="classic"),
    "artemis of pixels, any length": artemis("tirg", image="timm:test_efficientnet", size=64, image_unit=False),
    "clip4idc of pixels": clip4idc("pixels"),
    "clip4idc of features": clip4idc("features"),
    "clip4idc that tells": clip4idc("features", tells=True),
    "fashionbert": fashionbert,
    "oscar": oscar,
    "cross_encoder": cross_encoder,
    "two_tower of words": two_tower("words"),
    "two_tower of words and features": two_tower("words + classic dim=64"),
    **{f"mmv {graph}": mmv(graph) for graph in ("fac", "disjoint", "shared")},
    "map_ivr of whole clips": map_ivr(),
    "map_ivr of the best of several windows": map_ivr(windows=3, keep=2),
    "onnx of one sound": onnx("patches", (4, 1, 8), "input=waveform min_samples=100"),
    "onnx of sounds": onnx("sounds", (4, 1, 8), "input=waveform"),
    "onnx of pictures": onnx("pictures", (4, 3, 3, 3), "input=image size=16 frames=2"),
    "onnx of one picture": onnx("one", (4, 3, 3, 3), "input=image size=16 frames=2"),
    "open_clip": open_clip,
    **{f"transformers {kind}": transformers(kind) for kind in ("clip", "siglip2", "xclip", "clap", "dinov2", "bert")},
    **{f"transformers {kind}": family(kind) for kind in ("pe_av", "vjepa2")},
    "multi_vector": family("colbert"),
    **{f"sentence_transformers {kind}": sentence_transformers(kind) for kind in ("clip", "ast", "bert")},
}


#: How near a still video is to its picture, where a video is more than its frames.
NEAR = {"mmv": 0.05}
#: Models whose videos of one picture differ by their length.
COUNTING = {"transformers pe_av"}


def loaded(request: pytest.FixtureRequest, case: str, folder: Path, seed: int) -> Encoder:
    return registry.load("encoders", f"{case.split(maxsplit=1)[0]} {CASES[case](request, folder, seed)}")


def test_every_encoder_is_enrolled() -> None:
    assert {case.split()[0] for case in CASES} == set(registry.names("encoders"))


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def encoder(request: pytest.FixtureRequest, case: str, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return loaded(request, case, tmp_path_factory.mktemp("encoder"), 0)


def sources(key: str) -> list:
    """Three things to read, of different sizes."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8) for side in (40, 64, 90)]
    return {
        "text": ["a ball", "Zwei rote Bälle liegen im Gras, einer davon ist neu", "球"],
        "image": pictures,
        "audio": [rng.normal(0, 0.1, n).astype(np.float32) for n in (20_000, 9_000, 20_000)],
        "video": [np.stack([picture, picture[::-1], picture[:, ::-1]]) for picture in pictures],
        "pair": [(pictures[0], pictures[1]), (pictures[1], pictures[0]), (pictures[2], pictures[2])],
    }[key]


def blank(key: str) -> object:
    """What a model has least to say about."""
    black = np.zeros((32, 32, 3), np.uint8)
    return {
        "text": "?!",
        "image": black,
        "audio": np.zeros(8_000, np.float32),
        "video": black[None],
        "pair": (black, black),
    }[key]


def read(encoder: Encoder, key: str) -> list:
    return [encoder.reader(key)(source) for source in sources(key)]


def test_tellers_are_enrolled_in_their_own_contract(encoder: Encoder, case: str) -> None:
    from tests.encoders.test_teller_contract import TELLERS

    assert not getattr(encoder, "tellers", ()) or case in TELLERS


def test_every_key_has_a_space_and_foreign_keys_have_none(encoder: Encoder) -> None:
    assert encoder.keys == tuple(key for key in KEYS if encoder.spaces(key))


def test_vectors_are_finite_float32_rows_of_unit_length_where_the_metric_is_cosine(encoder: Encoder) -> None:
    for key in encoder.keys:
        for space in encoder.spaces(key):
            rows = encoder.embed(key, read(encoder, key), space)
            assert (rows.shape, rows.dtype) == ((3, space.dim), np.float32), key
            assert np.isfinite(rows).all(), key
            if space.metric == "cosine":
                np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5, err_msg=key)


def test_different_things_get_different_vectors(encoder: Encoder) -> None:
    for key in encoder.keys:
        rows = encoder.embed(key, read(encoder, key), encoder.spaces(key)[0])
        apart = np.abs(rows[:, None] - rows).max(axis=2)[np.triu_indices(3, 1)]
        assert apart.min() > 1e-3, key


def test_row_does_not_depend_on_the_rest_of_its_batch(encoder: Encoder) -> None:
    for key in encoder.keys:
        batch, space = read(encoder, key), encoder.spaces(key)[0]
        alone = np.concatenate([encoder.embed(key, [one], space) for one in batch])
        np.testing.assert_allclose(encoder.embed(key, batch, space), alone, atol=1e-5, err_msg=key)
        many = encoder.embed(key, [*batch * 7, batch[1]], space)
        np.testing.assert_allclose(many, alone[[0, 1, 2] * 7 + [1]], atol=1e-5, err_msg=key)


def test_blank_still_has_a_direction(encoder: Encoder) -> None:
    for key in encoder.keys:
        space = encoder.spaces(key)[0]
        length = np.linalg.norm(encoder.embed(key, [encoder.reader(key)(blank(key))], space))
        assert length == pytest.approx(1, abs=1e-5) if space.metric == "cosine" else length > 0, key


def test_empty_batch_gives_no_rows(encoder: Encoder) -> None:
    for key in encoder.keys:
        space = encoder.spaces(key)[0]
        assert encoder.embed(key, [], space).shape == (0, space.dim), key


def test_same_input_gives_the_same_bits(encoder: Encoder) -> None:
    for key in encoder.keys:
        batch, space = read(encoder, key), encoder.spaces(key)[0]
        first = encoder.embed(key, batch, space)
        np.testing.assert_array_equal(encoder.embed(key, batch, space), first, err_msg=key)


def test_embedding_leaves_its_inputs_alone(encoder: Encoder) -> None:
    for key in encoder.keys:
        batch = read(encoder, key)
        before = pickle.dumps(batch)
        encoder.embed(key, batch, encoder.spaces(key)[0])
        assert pickle.dumps(batch) == before, key


def test_still_video_lies_where_its_picture_lies(encoder: Encoder, case: str) -> None:
    if not {"image", "video"} <= set(encoder.keys):
        pytest.skip("it does not embed both")
    if not set(encoder.spaces("image")) & set(encoder.spaces("video")):
        pytest.skip("it embeds them into different spaces")
    assert encoder.spaces("image") == encoder.spaces("video")
    if case in COUNTING:
        pytest.skip("it tells videos of different lengths apart")
    picture, space = sources("image")[0], encoder.spaces("image")[0]
    still = encoder.embed("video", [encoder.reader("video")(np.stack([picture] * 5))], space)
    alone = encoder.embed("image", [encoder.reader("image")(picture)], space)
    np.testing.assert_allclose(still, alone, atol=NEAR.get(case.split(maxsplit=1)[0], 1e-5))


def test_same_weights_make_the_same_space_and_others_another(
    encoder: Encoder, case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    key = encoder.keys[0]
    again = loaded(request, case, tmp_path, 0)
    assert again.spaces(key) == encoder.spaces(key)
    other = loaded(request, case, tmp_path, 1)
    assert not set(other.spaces(key)) & set(encoder.spaces(key))


def test_foreign_keys_and_spaces_are_refused(encoder: Encoder) -> None:
    key = encoder.keys[0]
    own = encoder.spaces(key)[0]
    with pytest.raises(SpaceMismatch):
        encoder.embed(key, read(encoder, key), Space(own.name, own.dim, "cosine", "0" * 64))
    with pytest.raises(QuiverError, match="smell"):
        encoder.reader("smell")
    with pytest.raises(QuiverError, match="smell"):
        encoder.embed("smell", [], own)


def test_readers_work_in_a_process_without_torch(encoder: Encoder, tmp_path: Path) -> None:
    jobs = [(encoder.reader(key), sources(key)[0]) for key in encoder.keys]
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    code = (
        "import pickle, sys; sys.modules['torch'] = None\n"
        "jobs = pickle.load(open(sys.argv[1], 'rb'))\n"
        "open(sys.argv[2], 'wb').write(pickle.dumps([reader(source) for reader, source in jobs]))"
    )
    subprocess.run([sys.executable, "-P", "-c", code, tmp_path / "jobs", tmp_path / "read"], check=True)
    here = pickle.dumps([reader(source) for reader, source in jobs])
    assert (tmp_path / "read").read_bytes() == here
