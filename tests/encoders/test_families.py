"""Today's families of models, as tiny ones of the same classes: our vectors and scores are the library's own.

``docs/models.md`` is the table of these tests. Each asks the library in its own words: its processor and its
``get_*_features``, ``forward``, ``encode_query``, ``encode_document`` or ``predict``.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.encoders import families

from quiver.encoders import _prompts, cross_encoder, multi_vector, open_clip, sentence_transformers, transformers
from quiver.encoders._pool import unit
from quiver.errors import BadSpec
from quiver.protocols import ScorerInput

TEXTS = ["a red ball", "a dog, running over the green grass", "x"]
WITHIN = 1e-5


def pictures(side=24, count=3):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def clips(side=24, frames=4, count=2):
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (frames, side, side, 3), dtype=np.uint8) for _ in range(count)]


def sounds(rate=1600):
    rng = np.random.default_rng(3)
    return [rng.normal(0, 0.1, size).astype(np.float32) for size in (rate // 2, rate // 2 + 3, rate // 4)]


def opened(folder):
    from PIL import Image

    return [Image.fromarray(each) for each in folder]


def embedded(encoder, key, sources, space=None):
    reader = encoder.reader(key)
    return encoder.embed(key, [reader(each) for each in sources], space or encoder.spaces(key)[0])


def agree(ours, theirs):
    theirs = theirs.detach().float().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    np.testing.assert_allclose(ours, unit(theirs), atol=WITHIN)
    assert np.ptp(unit(theirs), axis=0).max() > 1e-4  # of different things


def model_of(folder, kind="AutoModel"):
    import transformers as library

    return getattr(library, kind).from_pretrained(folder).eval()


def part_of(folder, kind):
    import transformers as library

    # Of the library's two image processors ours is the one by Pillow, with which most models were trained.
    options = {"backend": "pil"} if kind == "AutoImageProcessor" else {}
    return getattr(library, kind).from_pretrained(folder, **options)


# Pictures and texts: open_clip


@pytest.mark.parametrize(
    "name",
    ["ViT-B-16-SigLIP2", "ViT-H-14-worldwide", "PE-Core-T-16-384", "MobileCLIP2-S0"],
)
def test_open_clip_towers_of_today(name, tmp_path, write_open_clip):
    """SigLIP 2, MetaCLIP 2, PE-Core and MobileCLIP2 under the library's own names, made small."""
    import open_clip as library
    import torch

    config = families.open_clip_config(name)
    words = config["text_cfg"].pop("hf_tokenizer_name", None)
    if words or "hf_model_name" in config["text_cfg"]:  # vocabularies of the Hub: the library's own stands for them
        config["text_cfg"] |= {"vocab_size": 49408, "context_length": 16}
        config["text_cfg"].pop("tokenizer_kwargs", None)
        if "eos_id" in config["text_cfg"]:
            config["text_cfg"]["eos_id"] = 49407
    side = config["vision_cfg"]["image_size"]
    preprocess = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    folder = write_open_clip(tmp_path / "model", config, preprocess={**preprocess, "size": side})
    encoder = open_clip.load(model=f"local-dir:{folder}", device="cpu")
    network = library.create_model(f"local-dir:{folder}").eval()
    transform = library.image_transform(side, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash",
                                        interpolation="bilinear")  # fmt: skip
    tokens = library.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.inference_mode():
        agree(embedded(encoder, "text", TEXTS), network.encode_text(tokens))
        seen = torch.stack([transform(each) for each in opened(pictures(40))])
        agree(embedded(encoder, "image", pictures(40)), network.encode_image(seen))


def test_names_of_today_are_known_to_open_clip():
    import open_clip as library

    known = set(library.list_pretrained())
    for name, tag in (
        ("PE-Core-L-14-336", "meta"),
        ("MobileCLIP2-S4", "dfndr2b"),
        ("ViT-SO400M-16-SigLIP2-384", "webli"),
        ("ViT-H-14-worldwide", "metaclip2_worldwide"),
    ):
        assert (name, tag) in known


# Pictures, sounds, videos and texts: transformers


@pytest.mark.parametrize("kind", ["siglip2", "clip"])
def test_siglip2_and_clip(kind, tmp_path, write_transformers):
    import torch

    folder = write_transformers.build[kind](tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    seen = part_of(folder, "AutoImageProcessor")(images=opened(pictures()), return_tensors="pt")
    with torch.inference_mode():
        agree(embedded(encoder, "image", pictures()), network.get_image_features(**seen).pooler_output)


def test_metaclip2(tmp_path):
    import torch

    folder = families.metaclip2(tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    seen = part_of(folder, "AutoImageProcessor")(images=opened(pictures(40)), return_tensors="pt")
    said = part_of(folder, "AutoTokenizer")(TEXTS, padding=True, return_tensors="pt")
    said.pop("token_type_ids", None)
    with torch.inference_mode():
        agree(embedded(encoder, "text", TEXTS), network.get_text_features(**said).pooler_output)
        agree(embedded(encoder, "image", pictures(40)), network.get_image_features(**seen).pooler_output)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap(fusion, tmp_path, write_transformers):
    import torch

    folder = write_transformers.build["clap"](tmp_path, fusion=fusion)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    extract = part_of(folder, "AutoFeatureExtractor")
    heard = extract(sounds(), sampling_rate=extract.sampling_rate, return_tensors="pt")
    heard["is_longer"] = torch.zeros(3, 1, dtype=torch.bool)
    with torch.inference_mode():
        agree(embedded(encoder, "audio", sounds()), network.get_audio_features(**heard).pooler_output)


def test_xclip(tmp_path, write_transformers):
    import torch

    folder = write_transformers.build["xclip"](tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    process = part_of(folder, "AutoImageProcessor")
    frames = torch.cat([process(images=opened(clip), return_tensors="pt")["pixel_values"] for clip in clips()])
    with torch.inference_mode():
        agree(embedded(encoder, "video", clips()), network.get_video_features(pixel_values=frames).pooler_output)


def test_videomae(tmp_path):
    import torch

    folder = families.videomae(tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    process = part_of(folder, "AutoImageProcessor")
    frames = torch.cat([process(images=opened(clip), return_tensors="pt")["pixel_values"] for clip in clips()])
    with torch.inference_mode():
        agree(embedded(encoder, "video", clips()), network(pixel_values=frames).last_hidden_state.mean(1))
    with pytest.raises(BadSpec, match="made for 4 frames, not 8"):
        transformers.load(model=str(folder), frames=8, device="cpu")


def test_vjepa2(tmp_path):
    import torch

    folder = families.vjepa2(tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    process, seen = part_of(folder, "AutoVideoProcessor"), clips(side=32)
    pixels = process(videos=[list(clip) for clip in seen], do_sample_frames=False, return_tensors="pt")
    with torch.inference_mode():
        theirs = network.get_vision_features(pixels["pixel_values_videos"]).mean(1)
        agree(embedded(encoder, "video", seen), theirs)
    larger = clips(side=70)  # our reader resizes by Pillow, the library by torchvision
    pixels = process(videos=[list(clip) for clip in larger], do_sample_frames=False, return_tensors="pt")
    with torch.inference_mode():
        theirs = network.get_vision_features(pixels["pixel_values_videos"]).mean(1)
    assert (embedded(encoder, "video", larger) * unit(theirs.numpy())).sum(1).min() > 0.9999
    with pytest.raises(BadSpec, match="multiple of 2"):
        transformers.load(model=str(folder), frames=3, device="cpu")


def pe_inputs(folder, wave, clip):
    said = part_of(folder, "AutoTokenizer")(TEXTS[:1], return_tensors="pt")
    said.pop("token_type_ids", None)
    heard = part_of(folder, "AutoFeatureExtractor")([wave], sampling_rate=1600, return_tensors="pt")
    process = part_of(folder, "AutoVideoProcessor")
    return {**said, **heard, **process(videos=[list(clip)], do_sample_frames=False, return_tensors="pt")}


@pytest.fixture(scope="module")
def pe_av(tmp_path_factory):
    return families.pe_av(tmp_path_factory.mktemp("pe_av"))


def test_pe_av_has_the_librarys_four_vectors(pe_av, capsys):
    import torch

    encoder = transformers.load(model=str(pe_av), device="cpu")
    assert capsys.readouterr().out == ""
    network = model_of(pe_av)
    for wave, clip in zip(sounds(), clips(side=32), strict=False):
        with torch.inference_mode():
            found = network(**pe_inputs(pe_av, wave, clip))
        heard, seen = encoder.spaces("text")
        for key, source, space, theirs in (
            ("text", TEXTS[0], heard, found.text_audio_embeds),
            ("text", TEXTS[0], seen, found.text_video_embeds),
            ("audio", wave, heard, found.audio_embeds),
            ("video", clip, seen, found.video_embeds),
        ):
            np.testing.assert_allclose(embedded(encoder, key, [source], space), unit(theirs.numpy()), atol=WITHIN)
    assert encoder.keys == ("text", "image", "audio", "video")
    assert encoder.spaces("image") == encoder.spaces("video") == (seen,)
    assert {(str(bridge.source), str(bridge.target)) for bridge in encoder.bridges} == {
        (str(heard), str(encoder.bridges[0].target)),
        (str(seen), str(encoder.bridges[0].target)),
    }


def test_pe_av_finds_sounds_by_texts_and_videos_by_sounds(pe_av, tmp_path):
    """The planner takes each pair of media to the space that the model was trained in for it."""
    import quiver

    spec = f"transformers model={pe_av} device=cpu"
    shop = quiver.open(tmp_path / "shop")
    waves, films = sounds(), clips(side=32)
    import soundfile

    for n, wave in enumerate(waves):
        soundfile.write(tmp_path / f"{n}.wav", wave, 1600)
    for n in range(2):
        write_film(tmp_path / f"{n}.mp4", films[n])
    named = [*(f"{n}.wav" for n in range(3)), *(f"{n}.mp4" for n in range(2))]
    shop.add(*(str(tmp_path / name) for name in named), encoder=spec, workers=0, progress=False)
    shop.add(*(quiver.Item(text, {"text": text}) for text in TEXTS), workers=0, progress=False)
    encoder = transformers.load(model=str(pe_av), device="cpu")
    heard, seen = encoder.spaces("text")
    stored_waves = [str(tmp_path / f"{n}.wav") for n in range(3)]
    stored_films = [str(tmp_path / f"{n}.mp4") for n in range(2)]
    audio, video = embedded(encoder, "audio", stored_waves), embedded(encoder, "video", stored_films)
    text_heard, text_seen = (embedded(encoder, "text", TEXTS, space) for space in (heard, seen))

    def scores(**query):
        return sorted((hit.score for hit in shop.search(k=5, **query)), reverse=True)

    np.testing.assert_allclose(scores(text=TEXTS[1], target="audio"), sorted(audio @ text_heard[1])[::-1], atol=1e-5)
    np.testing.assert_allclose(scores(text=TEXTS[1], target="video"), sorted(video @ text_seen[1])[::-1], atol=1e-5)
    wave = embedded(encoder, "audio", waves[:1])[0]
    np.testing.assert_allclose(scores(audio=waves[0], target="video"), sorted(video @ wave)[::-1], atol=1e-5)
    by_film = scores(video=stored_films[0], target="audio")
    np.testing.assert_allclose(by_film, sorted(audio @ video[0])[::-1], atol=1e-5)
    np.testing.assert_allclose(
        scores(video=stored_films[0], target="text"), sorted(text_seen @ video[0])[::-1], atol=1e-5
    )
    still = films[0][0]
    picture = embedded(encoder, "image", [still])[0]
    np.testing.assert_allclose(scores(image=still, target="video"), sorted(video @ picture)[::-1], atol=1e-5)


def write_film(path, frames):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("kind", ["pe_audio", "pe_video"])
def test_pe_audio_and_pe_video(kind, tmp_path):
    import torch

    folder = getattr(families, kind)(tmp_path)
    encoder, network = transformers.load(model=str(folder), device="cpu"), model_of(folder)
    wave, clip = sounds()[0], clips(side=32)[0]
    given = pe_inputs(folder, wave, clip)
    side = "audio" if kind == "pe_audio" else "video"
    names = {"audio": ("input_values", "padding_mask"), "video": ("pixel_values_videos",)}[side]
    with torch.inference_mode():
        found = network(given["input_ids"], attention_mask=given["attention_mask"], **{n: given[n] for n in names})
    ours = embedded(encoder, side, [wave if side == "audio" else clip])
    np.testing.assert_allclose(ours, unit(found[f"{side}_embeds"].numpy()), atol=WITHIN)
    theirs = unit(found[f"text_{side}_embeds"].numpy())
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS[:1]), theirs, atol=WITHIN)


# Texts: Sentence Transformers

SENTENCES = {
    "e5": ({"plain": families.bert, "pooling": "mean"}, {"prompt": "passage: ", "query": "query: "}),
    "bge": ({"plain": families.bert, "pooling": "cls"}, {"query": "Represent this sentence for searching: "}),
    "gte": ({"plain": families.modernbert, "pooling": "cls", "unit": False}, {}),
    "qwen3_embedding": (
        {
            "plain": families.qwen3,
            "pooling": "lasttoken",
            "prompts": {"query": "Instruct: find\nQuery:", "document": ""},
        },
        {},
    ),
    "embedding_gemma": (
        {
            "plain": families.gemma3,
            "pooling": "mean",
            "head": (48, 16),
            "prompts": {"query": "task: search result | query: ", "document": "title: none | text: "},
        },
        {},
    ),
}


@pytest.mark.parametrize("family", SENTENCES)
def test_text_embedders_with_their_prompts(family, tmp_path):
    """E5, BGE, GTE, Qwen3-Embedding and EmbeddingGemma: documents and queries as the library encodes each."""
    from sentence_transformers import SentenceTransformer

    made, options = SENTENCES[family]
    folder = families.sentence(tmp_path, **made)
    encoder = sentence_transformers.load(model=str(folder), device="cpu", **options)
    network = SentenceTransformer(str(folder), device="cpu")
    given = {"prompt": options["prompt"]} if "prompt" in options else {}
    agree(embedded(encoder, "text", TEXTS), network.encode_document(TEXTS, **given))
    asked = {"prompt": options["query"]} if "query" in options else {}
    space = encoder.spaces("text")[0]
    queries = encoder.embed_query("text", TEXTS, space)
    agree(queries, network.encode_query(TEXTS, **asked))
    if made.get("prompts") or options:
        assert np.abs(queries - embedded(encoder, "text", TEXTS)).max() > 1e-3


def test_prompts_that_a_checkpoint_does_not_hold_are_named(tmp_path, caplog):
    folder = families.sentence(tmp_path, families.bert, pooling="mean")
    named = folder.rename(tmp_path / "multilingual-e5-base")
    sentence_transformers.load(model=str(named), device="cpu")
    assert "add prompt='passage: ' query='query: '" in caplog.text
    caplog.clear()
    sentence_transformers.load(model=str(named), device="cpu", prompt="passage: ", query="query: ")
    assert "prompt" not in caplog.text
    assert _prompts.missing("BAAI/bge-m3") is None
    assert "query='Represent this" in str(_prompts.missing("BAAI/bge-base-en-v1.5"))


@pytest.fixture(scope="module")
def qwen3_vl(tmp_path_factory):
    prompts = {"query": "find: ", "document": "describe: "}
    return families.sentence(tmp_path_factory.mktemp("vl"), families.qwen3_vl, pooling="lasttoken", prompts=prompts)


def test_qwen3_vl_embedding(qwen3_vl):
    from sentence_transformers import SentenceTransformer

    encoder = sentence_transformers.load(model=str(qwen3_vl), device="cpu", frames=4)
    network = SentenceTransformer(str(qwen3_vl), device="cpu")
    assert encoder.keys == ("text", "image", "video")
    agree(embedded(encoder, "text", TEXTS), network.encode_document([{"text": text} for text in TEXTS]))
    agree(
        encoder.embed_query("text", TEXTS, encoder.spaces("text")[0]),
        network.encode_query([{"text": text} for text in TEXTS]),
    )
    agree(embedded(encoder, "image", pictures(32)), network.encode_document(opened(pictures(32))))
    films = clips(side=32)
    about = {"fps": 1.0, "total_num_frames": 4, "duration": 4.0, "frames_indices": [0, 1, 2, 3]}
    given = [{"video": {"array": np.moveaxis(film, -1, 1), "video_metadata": about}} for film in films]
    agree(embedded(encoder, "video", films), network.encode_document(given, batch_size=1))


# Rerankers


def scored(encoder, finds, query, items):
    """Return the scores (n,) of items for one query, as the engine gets them."""
    (held,) = query
    (scorer,) = [each for each in encoder.scorers if (each.holds, each.finds) == ((held,), finds)]
    columns = {scorer.reads[0]: embedded(encoder, finds, items)}
    return scorer.score(scorer.hold([ScorerInput(query)]), columns)[0]


def test_qwen3_vl_reranker(tmp_path):
    import torch
    from sentence_transformers import CrossEncoder

    folder = families.qwen3_vl_reranker(tmp_path)
    encoder = cross_encoder.load(model=str(folder), device="cpu", pixels=32 * 32)
    network = CrossEncoder(str(folder), device="cpu")
    seen = pictures(32)

    def theirs(pairs):
        return network.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=1)

    said = [{"text": text} for text in TEXTS]
    for finds, query, items, pairs in (
        ("text", {"text": ["red"]}, TEXTS, [({"text": "red"}, text) for text in said]),
        ("image", {"text": ["red"]}, seen, [({"text": "red"}, picture) for picture in opened(seen)]),
        ("image", {"image": [seen[1]]}, seen, [(opened(seen)[1], picture) for picture in opened(seen)]),
        ("text", {"image": [seen[1]]}, TEXTS, [(opened(seen)[1], text) for text in said]),
    ):
        ours = scored(encoder, finds, query, items)
        np.testing.assert_allclose(ours, theirs(pairs), atol=1e-5)
        assert np.ptp(ours) > 1e-4


@pytest.mark.parametrize("kind", ["blip2_itm", "blip_itm"])
def test_blip_matchers(kind, tmp_path):
    import torch

    folder = getattr(families, kind)(tmp_path)
    encoder = cross_encoder.load(model=str(folder), device="cpu", pixels=40 * 40)
    seen = pictures(40)
    network, process = model_of(folder, families.describe(folder)["architectures"][0]), part_of(folder, "AutoProcessor")
    given = process(images=opened(seen), text=["a red ball"] * 3, return_tensors="pt")
    head = {"use_image_text_matching_head": True} if kind == "blip2_itm" else {"use_itm_head": True}
    with torch.inference_mode():
        found = network(**given, **head)
    logits = (found.itm_score if kind == "blip_itm" else found.logits_per_image).numpy()
    ours = scored(encoder, "image", {"text": ["a red ball"]}, seen)
    np.testing.assert_allclose(ours, logits[:, 1] - logits[:, 0], atol=1e-5)
    alone = [scored(encoder, "text", {"image": [seen[0]]}, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(scored(encoder, "text", {"image": [seen[0]]}, TEXTS), alone, atol=1e-5)


def test_colbert(tmp_path):
    from sentence_transformers import MultiVectorEncoder

    folder = families.colbert(tmp_path)
    encoder = multi_vector.load(model=str(folder), device="cpu")
    network = MultiVectorEncoder(str(folder), device="cpu")
    texts = [*TEXTS, "a long text. " * 9, "..."]
    theirs = network.similarity(network.encode_query(["red balls"]), network.encode_document(texts)).numpy()
    ours = scored(encoder, "text", {"text": ["red balls"]}, texts)
    np.testing.assert_allclose(ours, theirs[0], rtol=1e-5, atol=1e-5)
    assert np.ptp(ours[:4]) > 1e-2
    by_example = encoder.scorers[0].hold([ScorerInput({}, {encoder.space: embedded(encoder, "text", TEXTS[:1])})])
    columns = {encoder.space: embedded(encoder, "text", texts)}
    found = encoder.scorers[0].score(by_example, columns)[0]
    documents = network.encode_document(texts)
    np.testing.assert_allclose(found, network.similarity(documents[:1], documents).numpy()[0], rtol=1e-5, atol=1e-5)


def test_more_vectors_than_are_kept_are_told(tmp_path, caplog):
    encoder = multi_vector.load(model=str(families.colbert(tmp_path)), device="cpu", tokens=5)
    embedded(encoder, "text", ["x", "a red ball"])
    assert "1 of 2 items have more than 5 vectors" in caplog.text
    assert "multi_vector tokens=14 keeps all of them" in caplog.text


@pytest.mark.parametrize("kind", ["colpali", "colqwen2"])
def test_colpali_and_colqwen(kind, tmp_path):
    import torch

    folder = getattr(families, kind)(tmp_path)
    encoder = multi_vector.load(model=str(folder), device="cpu")
    seen = pictures(48)
    network, process = model_of(folder, families.describe(folder)["architectures"][0]), part_of(folder, "AutoProcessor")
    with torch.inference_mode():
        query = network(**process.process_queries(["red"])).embeddings
        items = [network(**process.process_images([each])).embeddings[0] for each in opened(seen)]
    theirs = process.score_retrieval(query, items).numpy()[0]
    ours = scored(encoder, "image", {"text": ["red"]}, seen)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert np.ptp(ours) > 1e-4


def test_a_model_of_one_vector_is_refused_as_multi_vector(tmp_path):
    with pytest.raises(BadSpec, match="was not trained to give a vector for each token"):
        multi_vector.load(model=str(families.bert(tmp_path)), device="cpu")


def test_an_unknown_class_is_refused_with_those_that_are_known(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    with pytest.raises(BadSpec, match=r"is of type 'sam2_video'; supported are .* pe_audio_video.* vjepa2.*try 'sent"):
        transformers.load(model=str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "colqwen2"}')
    with pytest.raises(BadSpec, match="use 'multi_vector model="):
        transformers.load(model=str(tmp_path))


def test_the_table_of_models_names_a_test_in_each_row():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "`test_" in line]
    assert len(rows) >= 18
    every = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    for row in rows:
        for name in re.findall(r"`(test_\w+)`", row):
            assert f"def {name}(" in every, row
