"""The encoder and its scorer, alone and through the engine, against a naive S_all."""

import shutil

import numpy as np
import pytest

from quiver import registry
from quiver.engine.collection import open
from quiver.errors import BadSpec, SpaceMismatch
from quiver.media import NoVideo
from quiver.protocols import ScorerInput
from quiver.types import Item, Query


@pytest.fixture(scope="module")
def spec(trained):
    return f"map_ivr checkpoint={trained / 'model'} device=cpu"


@pytest.fixture(scope="module")
def encoder(spec):
    return registry.load("encoders", spec)


@pytest.fixture(scope="module")
def shelf(spec, task, tmp_path_factory):
    collection = open(tmp_path_factory.mktemp("shelf") / "films")
    collection.add(*task.items, encoder=spec, workers=0, progress=False)
    return collection


def stored(encoder, task):
    read, (space,) = encoder.reader("video"), encoder.spaces("video")
    return encoder.embed("video", [read(item.media["video"]) for item in task.items], space)


def parts(encoder, task, still, samples=None):
    """S_A and S_V of every clip, in float64, from the definition."""
    model = encoder.stage.model
    width = model.config.dim
    clips = stored(encoder, task).astype(np.float64)
    read, (space,) = encoder.reader("image"), encoder.spaces("image")
    a_u = encoder.embed("image", [read(still)], space)
    import torch

    with torch.inference_mode():
        imagined = model.imagine(torch.from_numpy(a_u), samples or model.config.samples)[0].double().numpy()
    s_a = 1 - clips[:, :width] @ a_u[0].astype(np.float64)
    s_v = (1 - clips[:, width:] @ imagined.T).min(axis=1)
    return s_a, s_v


def still_of(task, number=0):
    return task.questions[number].query.media["image"]


def asked(encoder, still, **weights):
    return encoder.scorers[0].hold([ScorerInput(media={"image": [still]}, weights=weights)])


@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
def test_scores_are_one_minus_s_all(encoder, task, share):
    scorer = encoder.scorers[0]
    weights = {} if share is None else {"image": share}
    blend = scorer.blend if share is None else 1 - share
    for number in (0, 5, 9):
        s_a, s_v = parts(encoder, task, still_of(task, number))
        held = asked(encoder, still_of(task, number), **weights)
        found = scorer.score(held, {scorer.clips: stored(encoder, task)})
        np.testing.assert_allclose(found[0], 1 - ((1 - blend) * s_a + blend * s_v), atol=2e-6)


def test_terms_add_up_and_are_the_two_similarities(encoder, task):
    scorer = encoder.scorers[0]
    columns = {scorer.clips: stored(encoder, task)}
    held = asked(encoder, still_of(task), image=0.25)
    terms = scorer.terms(held, columns)
    s_a, s_v = parts(encoder, task, still_of(task))
    np.testing.assert_allclose(terms["appearance"][0], 0.25 * (1 - s_a), atol=1e-6)
    np.testing.assert_allclose(terms["motion"][0], 0.75 * (1 - s_v), atol=1e-6)
    np.testing.assert_array_equal(sum(terms.values()), scorer.score(held, columns))


def test_the_engine_ranks_as_a_naive_s_all(shelf, encoder, task):
    for number, question in enumerate(task.questions):
        s_a, s_v = parts(encoder, task, still_of(task, number))
        blend = encoder.scorers[0].blend
        naive = 1 - ((1 - blend) * s_a + blend * s_v)
        answer = shelf.search(Query(media=question.query.media, target="video", k=len(task.items)))
        ids = [hit.id for hit in answer]
        scores = {item.id: score for item, score in zip(task.items, naive, strict=True)}
        np.testing.assert_allclose([hit.score for hit in answer], sorted(naive, reverse=True), atol=2e-6)
        np.testing.assert_allclose([scores[id] for id in ids], sorted(naive, reverse=True), atol=2e-6)


def test_clips_alone_are_ranked_by_the_scorer_without_naming_the_target(shelf, task):
    named = shelf.search(Query(media={"image": still_of(task)}, target="video", k=3))
    answer = shelf.search(Query(media={"image": still_of(task)}, k=3))
    assert [(hit.id, hit.score) for hit in answer] == [(hit.id, hit.score) for hit in named]


def test_where_stills_are_stored_too_the_target_says_which_are_found(spec, task, tmp_path):
    collection = open(tmp_path / "both")
    stills = [Item(f"still {n}", {"image": still_of(task, n)}) for n in range(3)]
    collection.add(*task.items[:3], *stills, encoder=spec, workers=0, progress=False)
    answer = collection.search(Query(media={"image": still_of(task)}, k=1))
    assert answer[0].id == "still 0"  # by appearance, among stills and clips
    assert answer[0].score == pytest.approx(1, abs=1e-6)
    asked = collection.search(Query(media={"image": still_of(task)}, target="video", k=3))
    liked = collection.search(Query(like=("still 0",), target="video", k=3, scorer="map_ivr"))
    assert [hit.id for hit in liked] == [hit.id for hit in asked]
    np.testing.assert_allclose([hit.score for hit in liked], [hit.score for hit in asked], atol=1e-6)


def test_samples_and_lambda_of_a_collection_change_without_embedding_anew(spec, encoder, task, tmp_path):
    collection = open(tmp_path / "again")
    collection.add(*task.items, encoder=spec, workers=0, progress=False)
    report = collection.add(encoder=f"{spec} samples=2 blend=0.9", workers=0, progress=False)
    assert (report.added, report.embedded) == (0, 0)
    s_a, s_v = parts(encoder, task, still_of(task), samples=2)
    query = Query(media={"image": still_of(task)}, target="video", k=12, scorer="map_ivr samples=2 blend=0.9")
    found = [hit.score for hit in collection.search(query)]
    np.testing.assert_allclose(found, np.sort(1 - (0.1 * s_a + 0.9 * s_v))[::-1], atol=2e-6)
    own = collection.search(Query(media={"image": still_of(task)}, target="video", k=12))
    s_a, s_v = parts(encoder, task, still_of(task))
    blend = encoder.scorers[0].blend
    np.testing.assert_allclose(
        [hit.score for hit in own], np.sort(1 - ((1 - blend) * s_a + blend * s_v))[::-1], atol=2e-6
    )


@pytest.mark.parametrize(("share", "part"), [(1.0, 0), (1e-7, 1)])  # the engine refuses to ask with 0
def test_the_weight_of_the_image_goes_from_motion_alone_to_appearance_alone(shelf, encoder, task, share, part):
    query = Query(media={"image": still_of(task, 4)}, target="video", k=5, weights={"image": share})
    alone = parts(encoder, task, still_of(task, 4))[part]
    np.testing.assert_allclose([hit.score for hit in shelf.search(query)], 1 - np.sort(alone)[:5], atol=2e-6)


def test_explain_names_the_scorer_and_hits_have_both_terms(shelf, encoder, task):
    answer = shelf.search(Query(media={"image": still_of(task)}, target="video", k=3))
    s_a, s_v = parts(encoder, task, still_of(task))
    place = {item.id: row for row, item in enumerate(task.items)}
    blend = encoder.scorers[0].blend
    for hit in answer:
        terms = next(value for name, value in hit.trace.items() if name == "compose map_ivr")
        assert terms["appearance"] == pytest.approx((1 - blend) * (1 - s_a[place[hit.id]]), abs=2e-6)
        assert terms["motion"] == pytest.approx(blend * (1 - s_v[place[hit.id]]), abs=2e-6)
    assert "gives the ranking of map_ivr" in str(answer.plan)


def test_h_vectors_are_h_single_searches_of_which_the_best_counts(shelf, encoder, task, spec):
    scorer, columns = encoder.scorers[0], {encoder.scorers[0].clips: stored(encoder, task)}
    held = asked(encoder, still_of(task, 3))
    each = [scorer.score({"ask": held["ask"][:, code : code + 1]}, columns) for code in range(held["ask"].shape[1])]
    np.testing.assert_allclose(np.max(each, axis=0), scorer.score(held, columns), atol=1e-6)


def test_fewer_samples_are_the_first_ones_and_the_spaces_stay(encoder, spec, task):
    few = registry.load("encoders", f"{spec} samples=2 blend=0.4")
    assert (few.spaces("video"), few.spaces("image")) == (encoder.spaces("video"), encoder.spaces("image"))
    many = asked(encoder, still_of(task), image=0.6)["ask"]
    np.testing.assert_allclose(asked(few, still_of(task))["ask"], many[:, :2], atol=1e-6)


def test_stills_find_clips_by_appearance_without_the_scorer(shelf, encoder, task):
    query = Query(media={"image": still_of(task)}, target="video", k=4, scorer="none")
    s_a, _ = parts(encoder, task, still_of(task))
    np.testing.assert_allclose([hit.score for hit in shelf.search(query)], 1 - np.sort(s_a)[:4], atol=2e-6)


def test_clips_find_clips_by_both(shelf, encoder, task):
    rows = stored(encoder, task)
    expected = np.sort(np.delete(rows @ rows[2], 2))[::-1][:4]
    answer = shelf.search(Query(like=(task.items[2].id,), target="video", k=4))
    np.testing.assert_allclose([hit.score for hit in answer], expected, atol=1e-5)
    assert task.items[2].id not in [hit.id for hit in answer]


def test_other_recalls_with_rescoring_give_exact_scores(shelf, encoder, task):
    exact = shelf.search(Query(media={"image": still_of(task, 7)}, target="video", k=3))
    for recall in ("mean", "appearance"):
        query = Query(media={"image": still_of(task, 7)}, target="video", k=3, recall=recall, depth=12)
        answer = shelf.search(query)
        assert [hit.id for hit in answer] == [hit.id for hit in exact]
        np.testing.assert_allclose([hit.score for hit in answer], [hit.score for hit in exact], atol=1e-6)


def test_several_stills_are_the_mean_of_their_directions(encoder, task):
    scorer = encoder.scorers[0]
    one, two = (asked(encoder, still_of(task, number))["still"][0] for number in (0, 1))
    both = scorer.hold([ScorerInput(media={"image": [still_of(task, 0), still_of(task, 1)]})])["still"][0]
    np.testing.assert_allclose(both, (one + two) / np.linalg.norm(one + two), atol=1e-6)


def test_a_stored_appearance_vector_asks_as_its_picture_does(encoder, task):
    scorer, (space,) = encoder.scorers[0], encoder.spaces("image")
    row = encoder.embed("image", [encoder.reader("image")(still_of(task))], space)
    held = scorer.hold([ScorerInput(media={}, examples={space: row})])
    np.testing.assert_allclose(held["ask"], asked(encoder, still_of(task))["ask"], atol=1e-6)


@pytest.mark.parametrize("weights", [{"image": -0.1}, {"image": 1.5}, {"image": float("nan")}, {"text": 1.0}])
def test_weights_that_are_no_share_are_refused(encoder, task, weights):
    with pytest.raises(BadSpec, match="1 - lambda"):
        encoder.scorers[0].hold([ScorerInput(media={"image": [still_of(task)]}, weights=weights)])


def test_a_query_without_a_still_is_refused(encoder):
    with pytest.raises(BadSpec, match="needs a still"):
        encoder.scorers[0].hold([ScorerInput(media={})])


@pytest.mark.parametrize(
    ("option", "says"), [("samples=0", "from 1 to 64"), ("samples=65", "from 1 to 64"), ("blend=2", "from 0")]
)
def test_options_out_of_range_are_refused(spec, option, says):
    with pytest.raises(BadSpec, match=says):
        registry.load("encoders", f"{spec} {option}")


def test_other_features_than_those_of_the_training_are_refused(spec):
    with pytest.raises(BadSpec, match="gives other video features than those this map_ivr model has learnt from"):
        registry.load("encoders", f"{spec} video='classic frames=3 + motion frames=4'")


def test_foreign_spaces_are_refused(encoder):
    with pytest.raises(SpaceMismatch, match="embeds image into"):
        encoder.embed("image", [], encoder.spaces("video")[0])


def test_bad_clips_go_to_quarantine_and_the_rest_goes_on(spec, task, tmp_path):
    import av
    import soundfile

    from quiver.benchmarks.datasets.world.files import save_video

    folder = tmp_path / "films"
    folder.mkdir()
    shutil.copy(task.items[0].media["video"], folder / "good.mp4")
    save_video(folder / "one.mp4", np.full((1, 48, 48, 3), 90, np.uint8), 8.0)  # a clip of one frame is a clip
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with av.open(str(folder / "sound.mp4"), "w") as target, av.open(str(tmp_path / "a.wav")) as source:
        stream = target.add_stream("aac", rate=8000)
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    (folder / "broken.mp4").write_bytes((folder / "good.mp4").read_bytes()[:200])
    collection = open(tmp_path / "shelf")
    report = collection.add(str(folder), encoder=spec, workers=0, progress=False)
    answer = collection.search(Query(media={"image": still_of(task)}, target="video", k=5))
    assert {hit.id for hit in answer} == {"films/good.mp4", "films/one.mp4"}
    assert report.quarantined == 1
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    assert "broken.mp4" in reasons["films/broken.mp4"]


def test_a_file_with_sound_alone_is_no_clip(encoder, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with pytest.raises(NoVideo, match="holds sound, but no video"):
        encoder.reader("video")(str(tmp_path / "a.wav"))


def test_a_page_shows_the_still_the_clips_and_both_terms_of_their_scores(shelf, task, tmp_path):
    from quiver.engine.contact_sheet import write

    query = Query(media={"image": still_of(task)}, target="video", k=2)
    answer = shelf.search(query)
    write(tmp_path / "page.html", [(query, answer)], collection=shelf)
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") >= 3  # the still, and a frame of each clip
    assert page.count("<video") == 2
    for hit in answer:
        terms = hit.trace["compose map_ivr"]
        assert f"appearance {terms['appearance']:.4f}, motion {terms['motion']:.4f}" in page
