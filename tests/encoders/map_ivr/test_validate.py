"""Exact validation: AP by hand and by the library of measures, lambda, exclusions, probes."""

import numpy as np
import pytest
import torch

from quiver.benchmarks.metric import Judgements, Ragged, evaluate, rank
from quiver.encoders.map_ivr.config import Config
from quiver.encoders.map_ivr.data import Pairs
from quiver.encoders.map_ivr.model import MapIvr, unit
from quiver.encoders.map_ivr.validate import Exam, Probe, aph, probe_of, probed


def rows(*values):
    return [np.array(each, np.int64) for each in values]


def exam(n=6, g=30, seed=0, **changes):
    rng = np.random.default_rng(seed)
    answers = [np.sort(rng.choice(g, 5, replace=False)) for _ in range(n)]
    out = [np.setdiff1d(rng.choice(g, 4, replace=False), right) for right in answers]
    pairs = Pairs(
        [str(k) for k in range(n)], [str(k) for k in range(g)], ("a", "b", "c"), np.arange(n) % 3, answers, answers,
        out, [{}] * g, [("abc"[k % 3],) for k in range(g)],
    )  # fmt: skip
    images, videos = rng.normal(size=(n, 12)), rng.normal(size=(g, 10))
    return Exam(pairs, images.astype(np.float32), videos.astype(np.float32), **changes)


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MapIvr(Config.tiny()).eval()


def test_aph_of_hand_computed_rankings():
    assert aph(np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)
    assert aph(np.array([True, True])) == 1
    assert aph(np.array([False, False])) == 0
    assert aph(np.array([False, False, False, True])) == 0.25


def test_precisions_are_those_of_the_library_of_measures():
    it = exam()
    scores = np.random.default_rng(1).normal(size=(6, 30)).astype(np.float32)
    masked = scores.copy()
    for line, out in zip(masked, it.pairs.out, strict=True):
        line[out] = -np.inf
    relevant = Ragged.of([each.tolist() for each in it.pairs.answers])
    competing = np.array([30 - len(out) for out in it.pairs.out])
    judged = Judgements([str(k) for k in range(6)], relevant, np.ones(30, np.int64), competing, [""] * 6)
    found = evaluate(rank(masked), judged, ["APh@100", "Success@1"])
    assert it.precisions(scores) == pytest.approx((found.mean("APh@100"), found.mean("Success@1")))


def test_of_equal_scores_wrong_clips_come_first():
    pairs = Pairs(
        ["s"], ["a", "b"], ("x",), np.zeros(1, np.int64), rows([1]), rows([1]), rows([]), [{}] * 2, [("x",)] * 2
    )
    it = Exam(pairs, np.zeros((1, 2), np.float32), np.zeros((2, 2), np.float32))
    assert it.precisions(np.zeros((1, 2), np.float32)) == (0.5, 0.0)


def test_cosines_are_those_of_the_definition():
    it, net = exam(), model()
    with torch.no_grad():
        appearance, moving, spread = it.cosines(net)
        a_u, a_v = net.embed_image(torch.from_numpy(it.images)), net.embed_video(torch.from_numpy(it.videos))
        imagined, v = net.imagine(a_u, 5), unit(torch.from_numpy(it.videos))
    np.testing.assert_allclose(appearance, (a_u @ a_v.T).numpy(), atol=1e-6)
    np.testing.assert_allclose(moving, torch.einsum("nhf,gf->nhg", imagined, v).amax(dim=1).numpy(), atol=1e-6)
    middle = imagined.mean(dim=1, keepdim=True)
    expected = 1 - torch.nn.functional.cosine_similarity(imagined, middle, dim=2).mean()
    assert spread == pytest.approx(expected.item(), abs=1e-6)


def test_the_best_lambda_of_the_grid_is_chosen():
    it, net = exam(), model()
    with torch.no_grad():
        figures = it.measure(net)
        appearance, moving, _ = it.cosines(net)
    every = {blend: it.precisions((1 - blend) * appearance + blend * moving)[0] for blend in it.blends}
    assert next(iter(figures)) == "APh@100"
    assert figures["APh@100"] == max(every.values()) == every[figures["blend"]]
    assert (figures["appearance"], figures["moving"]) == (every[0.0], every[1.0])
    with torch.no_grad():
        fixed = exam(blends=(0.3,)).measure(net)
    assert (fixed["blend"], fixed["appearance"]) == (0.3, figures["appearance"])


def test_excluded_clips_do_not_compete():
    pairs = Pairs(
        ["s"],
        ["own", "wrong", "right"],
        ("x",),
        np.zeros(1, np.int64),
        rows([2]),
        rows([2]),
        rows([0]),
        [{}] * 3,
        [("x",)] * 3,
    )
    it = Exam(pairs, np.zeros((1, 2), np.float32), np.zeros((3, 2), np.float32))
    assert it.precisions(np.array([[9.0, 1.0, 2.0]], np.float32)) == (1.0, 1.0)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 12))
    x[:, 3] += 4 * truth
    names = np.array(["ann", "ben"])[truth].tolist()
    other = np.array(["u", "v"])[rng.integers(0, 2, 400)].tolist()
    assert probed(x[:200], names[:200], x[200:], names[200:]) > 0.95
    assert probed(x[:200], other[:200], x[200:], other[200:]) < 0.65


def test_probes_are_of_the_activity_and_of_columns_that_both_parts_have():
    it = exam()
    tagged = [{"person": "ann", "hat": ""}] * 30
    from dataclasses import replace

    pairs = replace(it.pairs, meta=tagged)
    probe = probe_of(pairs, pairs, it.videos, it.videos, ["person", "hat", "shoe"])
    assert set(probe.values) == {"activity", "person"}
    with torch.no_grad():
        figures = exam(probe=Probe(it.videos, it.videos, probe.values)).measure(model())
    assert {"motion_activity", "appearance_activity", "motion_person", "appearance_person"} <= set(figures)
    assert figures["motion_person"] == 1
