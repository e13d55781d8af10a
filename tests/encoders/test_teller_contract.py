"""What every teller keeps to. An encoder with tellers enrols with a line in TELLERS."""

import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.encoders import captioners

from quiver import registry
from quiver.errors import QuiverError
from quiver.protocols import Encoder, Teller, Told
from quiver.types import KEYS

pytestmark = pytest.mark.usefixtures("one_thread")
Build = Callable[[pytest.FixtureRequest, Path, int], str]


def transformers(kind: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        path = captioners.write(kind, folder / str(seed) / kind, seed=seed)
        return f"model='{path}' device=cpu tokens=8"

    return build


def clip4idc(generator: str) -> Build:
    def build(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
        from tests.encoders.clip4idc.pairs import write
        from tests.encoders.clip4idc.test_caption_train import recipe, with_unchanged

        from quiver.encoders.clip4idc.train import train

        squares, out = with_unchanged(write(folder / f"squares{seed}")), folder / f"run{seed}"
        sizes = {"caption.generator": generator, "caption.steps": 3, "caption.batch": 24, "model.dim": 32}
        train(squares, squares, out, recipe=recipe(**sizes, **{"loop.seed": seed}))
        return f"checkpoint='{out / 'model'}' device=cpu"

    return build


def clip4idc_reranking(request: pytest.FixtureRequest, folder: Path, seed: int) -> str:
    from tests.encoders.test_contract import clip4idc

    (place := folder / str(seed)).mkdir(parents=True, exist_ok=True)
    return clip4idc("features", tells=True)(request, place, seed)


#: By the name of the encoder, and what tells one case of it from another; see ``CASES`` in test_contract.
TELLERS: dict[str, Build] = {
    **{f"transformers {kind}": transformers(kind) for kind in ("blip", "florence2", "qwen3_vl")},
    "clip4idc": clip4idc("clip4idc"),
    "clip4idc duda": clip4idc("duda"),
    "clip4idc that tells": clip4idc_reranking,
}


def loaded(request: pytest.FixtureRequest, case: str, folder: Path, seed: int) -> Encoder:
    return registry.load("encoders", f"{case.split(maxsplit=1)[0]} {TELLERS[case](request, folder, seed)}")


@pytest.fixture(scope="module", params=TELLERS)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def encoder(request: pytest.FixtureRequest, case: str, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return loaded(request, case, tmp_path_factory.mktemp("teller"), 0)


@pytest.fixture(scope="module")
def told_by(encoder: Encoder) -> list[tuple[Teller, str, list]]:
    """Return each teller with each of its keys and a batch of it."""
    from tests.encoders.test_contract import sources

    return [
        (teller, key, [teller.reader(key)(source) for source in sources(key)])
        for teller in encoder.tellers
        for key in teller.keys
    ]


def test_a_teller_has_a_name_a_revision_and_keys_in_order(encoder: Encoder) -> None:
    for teller in encoder.tellers:
        assert isinstance(teller, Teller)
        assert teller.name.strip() and re.fullmatch("[0-9a-f]{8,}", teller.revision)
        assert teller.keys and teller.keys == tuple(key for key in KEYS if key in teller.keys)
        assert getattr(teller, "at_once", 16) >= 1


@pytest.mark.parametrize(("beams", "most"), [(1, 1), (3, 2)])
def test_captions_are_sentences_with_scores_best_first(told_by: list, beams: int, most: int) -> None:
    for teller, key, batch in told_by:
        found = teller.tell(key, batch, beams=beams, most=most)
        assert len(found) == len(batch)
        for captions in found:
            assert 1 <= len(captions) <= most
            assert all(isinstance(each, Told) and each.text == each.text.strip() for each in captions)
            scores = [each.score for each in captions]
            assert all(math.isfinite(score) and score <= 0 for score in scores)
            assert scores == sorted(scores, reverse=True)


def test_captions_do_not_depend_on_the_batch_and_are_the_same_again(told_by: list) -> None:
    for teller, key, batch in told_by:
        together = teller.tell(key, batch)
        alone = [teller.tell(key, [one])[0] for one in batch]
        again = teller.tell(key, batch)
        for here, there in ((together, alone), (together, again)):
            assert [each[0].text for each in here] == [each[0].text for each in there], key
            assert [each[0].score for each in here] == pytest.approx([each[0].score for each in there], abs=1e-4)


def test_an_empty_batch_has_no_captions_and_inputs_stay_as_they_are(told_by: list) -> None:
    for teller, key, batch in told_by:
        assert teller.tell(key, []) == []
        before = pickle.dumps(batch)
        teller.tell(key, batch)
        assert pickle.dumps(batch) == before


def test_foreign_keys_and_numbers_out_of_range_are_refused(told_by: list) -> None:
    for teller, key, batch in told_by:
        with pytest.raises(QuiverError, match="smell"):
            teller.reader("smell")
        with pytest.raises(QuiverError, match="smell"):
            teller.tell("smell", [])
        for beams, most in ((0, 1), (1, 0), (1, 2)):
            with pytest.raises(QuiverError, match="beams"):
                teller.tell(key, batch, beams=beams, most=most)


def test_same_weights_have_the_same_revision_and_others_another(
    encoder: Encoder, case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    revisions = [
        {teller.revision for teller in each.tellers}
        for each in (encoder, loaded(request, case, tmp_path, 0), loaded(request, case, tmp_path, 1))
    ]
    assert revisions[0] == revisions[1] and not revisions[0] & revisions[2]


def test_readers_work_in_a_process_without_torch(told_by: list, tmp_path: Path) -> None:
    from tests.encoders.test_contract import sources

    jobs = [(teller.reader(key), sources(key)[0]) for teller, key, _ in told_by]
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    code = (
        "import pickle, sys; sys.modules['torch'] = None\n"
        "jobs = pickle.load(open(sys.argv[1], 'rb'))\n"
        "open(sys.argv[2], 'wb').write(pickle.dumps([reader(source) for reader, source in jobs]))"
    )
    subprocess.run([sys.executable, "-P", "-c", code, tmp_path / "jobs", tmp_path / "read"], check=True)
    assert (tmp_path / "read").read_bytes() == pickle.dumps([reader(source) for reader, source in jobs])
