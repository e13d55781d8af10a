"""Measures of captions against the coco-caption code's golden figures, small cases by hand, and without Java."""

import json
from pathlib import Path

import numpy as np
import pytest

from quiver.benchmarks.metric import caption, caption_java
from quiver.encoders._cider import cider, plain
from quiver.errors import BadData, BadSpec

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "captioning_metrics.json").read_text(encoding="utf-8"))
SAID, RIGHT = GOLDEN["candidates"], GOLDEN["references"]
EXACT = ("BLEU-4", "ROUGE-L", "CIDEr-D")
NAMES = {"ROUGE-L": "rouge_l", "CIDEr-D": "cider", "METEOR": "meteor"}
needs_java = pytest.mark.skipif(caption_java.java() is None, reason="METEOR needs Java")


def test_figures_agree_with_the_golden_ones():
    theirs, ours = GOLDEN["pycocoevalcap_simple_tokens"], caption.evaluate(SAID, RIGHT, measures=EXACT)
    assert ours.corpus["BLEU-4"] == pytest.approx(theirs["bleu_corpus_closest"][3], abs=1e-9)
    np.testing.assert_allclose(ours.each["BLEU-4"], theirs["bleu_sentence_closest"][3], atol=1e-9)
    for name in ("ROUGE-L", "CIDEr-D"):
        assert ours.corpus[name] == pytest.approx(theirs[NAMES[name]], abs=1e-9)
        np.testing.assert_allclose(ours.each[name], theirs[f"{NAMES[name]}_sentence"], atol=1e-9)


def test_figures_agree_with_an_independent_library():
    theirs, ours = GOLDEN["aac_metrics_simple_tokens"], caption.evaluate(SAID, RIGHT, measures=EXACT)
    assert ours.corpus["BLEU-4"] == pytest.approx(theirs["bleu_4_closest"], abs=1e-9)
    assert ours.corpus["CIDEr-D"] == pytest.approx(theirs["cider_d"], abs=1e-9)


def test_short_captions_pay_brevity():
    short = [" ".join(text.split()[:4]) for text in GOLDEN["tokenised_simple"]["candidates"]]
    theirs, ours = GOLDEN["brevity_variant_candidates_first_4_words"], caption.evaluate(short, RIGHT, measures=EXACT)
    assert ours.corpus["BLEU-4"] == pytest.approx(theirs["bleu_corpus_closest"][3], abs=1e-9)
    assert ours.corpus["CIDEr-D"] == pytest.approx(theirs["cider"], abs=1e-9)


@needs_java
def test_meteor_and_the_treebank_tokenizer_agree_with_the_golden_figures():
    theirs = GOLDEN["pycocoevalcap_simple_tokens"]  # the tokens of both kinds are equal on this set
    ours = caption.evaluate(SAID, RIGHT, measures=("METEOR", "CIDEr-D"), tokens="ptb")
    assert ours.absent == {} and GOLDEN["ptb_equals_simple"]
    assert ours.corpus["METEOR"] == pytest.approx(theirs["meteor"], abs=1e-6)
    np.testing.assert_allclose(ours.each["METEOR"], theirs["meteor_sentence"], atol=1e-6)
    assert ours.corpus["CIDEr-D"] == pytest.approx(theirs["cider"], abs=1e-9)
    awkward = GOLDEN["ptb_awkward"]
    assert caption_java.tokenize([*awkward["raw"], "", "zwölf\nÄpfel"]) == [*awkward["ptb"], "", "zwölf äpfel"]


def test_plain_words_are_those_of_the_golden_file():
    awkward = GOLDEN["ptb_awkward"]
    assert [plain(text) for text in awkward["raw"]] == awkward["simple"]
    assert [plain(text) for text in SAID] == GOLDEN["tokenised_simple"]["candidates"]


def test_training_selects_by_the_same_cider():
    assert cider(SAID, RIGHT) == pytest.approx(GOLDEN["pycocoevalcap_simple_tokens"]["cider"], abs=1e-9)


def test_without_java_its_measures_are_told_to_be_absent(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = caption.evaluate(SAID, RIGHT)
    assert list(found.corpus) == list(EXACT)
    assert list(found.absent) == ["METEOR", "SPICE"]
    assert all("no Java" in why for why in found.absent.values())
    assert caption_java.version() is None
    with pytest.raises(caption_java.Unavailable, match="no Java"):
        caption.evaluate(SAID, RIGHT, tokens="ptb")


def test_a_java_that_fails_is_told(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = caption.evaluate(SAID, RIGHT, measures=("METEOR", "ROUGE-L"))
    assert list(found.corpus) == ["ROUGE-L"]
    assert "METEOR" in found.absent["METEOR"]
    assert caption_java.version() is None
    with pytest.raises(caption_java.Unavailable, match="out of order"):
        caption_java.tokenize(["a"])


def test_java_is_found_by_java_home(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert caption_java.java() == str(program)


def test_an_empty_caption_matches_nothing_and_counts():
    found = caption.evaluate(["a red ball", "", "..."], [["a red ball"], ["a cube"], ["b"]], measures=EXACT)
    assert found.each["ROUGE-L"].tolist() == [1, 0, 0]
    assert found.corpus["ROUGE-L"] == pytest.approx(1 / 3)
    assert found.each["CIDEr-D"][1] == 0


def test_one_thing_alone_has_no_cider():
    assert caption.evaluate(["a b c d"], [["a b c d"]], measures=["CIDEr-D"]).corpus["CIDEr-D"] == 0


def test_wrong_input_is_one_clear_line():
    with pytest.raises(BadSpec, match="'CIDEr' is no measure"):
        caption.evaluate(["a"], [["a"]], measures=["CIDEr"])
    with pytest.raises(BadData, match="1 captions and references for 2"):
        caption.evaluate(["a"], [["a"], ["b"]])
    with pytest.raises(BadData, match="references of caption 1 have no word"):
        caption.evaluate(["a", "b"], [["a"], ["", "?!"]])


def test_intervals_hold_the_figure_and_shrink_to_it_for_equal_things():
    found = caption.evaluate(SAID, RIGHT, measures=EXACT).intervals(resamples=300)
    assert all(each.low < each.value < each.high for each in found.values())
    same = caption.evaluate(["a b c d e"] * 5, [["a b c d x"]] * 5, measures=["BLEU-4", "ROUGE-L"]).intervals(
        resamples=50
    )
    assert all(each.low == pytest.approx(each.high) == pytest.approx(each.value) for each in same.values())


def test_the_bootstrap_of_bleu_adds_counts_up():
    found = caption.evaluate(SAID, RIGHT, measures=["BLEU-4"])
    assert found.counts.sum(axis=0)[:4].tolist() == GOLDEN["bleu_worked_counts"]["clipped_hits"]
    one_source = found.intervals(["same"] * len(SAID), resamples=20)["BLEU-4"]
    assert one_source.low == pytest.approx(found.corpus["BLEU-4"]) == pytest.approx(one_source.high)
