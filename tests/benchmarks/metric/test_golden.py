"""Figures held against golden numbers: four tie rules, missing queries, CIRR and FashionIQ.

Where an official program has a fault, both are tested: its numbers with the fault, ours without.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from quiver.benchmarks.metric import Judgements, Ragged, Ranking, evaluate, find, judge, order, rank, ranks
from quiver.task import Question, Task, check
from quiver.types import Item, Query

GOLDEN = Path(__file__).parents[2] / "golden"
RETRIEVAL = json.loads((GOLDEN / "metrics_retrieval.json").read_text())
CIR = json.loads((GOLDEN / "cir_protocols.json").read_text())
CASES = RETRIEVAL["cases"]
KS = (1, 3, 5, 10)
#: Our spelling of their names.
NAMES = {"mrr": "RR", "map": "AP"} | {
    theirs.format(k): ours.format(k)
    for k in KS
    for theirs, ours in {
        "hit@{}": "Success@{}",
        "recall@{}": "R@{}",
        "precision@{}": "P@{}",
        "map@{}_div_R": "AP@{}",
        "map@{}_div_hits_APIVR": "APh@{}",
        "mrr@{}": "RR@{}",
        "ndcg@{}_linear": "nDCG@{}",
        "ndcg@{}_exp": "nDCG(dcg='exp-log2')@{}",
    }.items()
}
WHOLE = {"hit@all": "Success@99", "recall@all": "R@99", "ndcg@all_linear": "nDCG", "map@all_div_R": "AP"}
FIRST = "MeanR"


def arrays(case):
    scores, grades = np.array(case["scores"]), np.array(case["rel"])
    judgements = Judgements(
        ids=[f"q{number:02}" for number in range(len(grades))],
        relevant=Ragged.of([np.flatnonzero(row).tolist() for row in grades]),
        grades=grades[grades > 0],
        competing=np.full(len(grades), grades.shape[1]),
        groups=[""] * len(grades),
    )
    return scores, judgements


def descending(scores):
    """Of equal scores the higher row first, as trec_eval does with ids."""
    backwards = rank(scores[:, ::-1])
    return Ranking(scores.shape[1] - 1 - backwards.rows, backwards.scores)


def measured(case, rule, names):
    scores, judgements = arrays(case)
    ranking = descending(scores) if rule == "index_desc" else rank(scores)
    return evaluate(ranking, judgements, names, tie=rule if rule.endswith("mistic") else "stable")


@pytest.mark.parametrize("rule", ["index", "index_desc", "optimistic", "pessimistic"])
@pytest.mark.parametrize("name", CASES)
def test_figures_agree_with_plain_definitions_under_four_tie_rules(name, rule):
    expected = CASES[name]["by_hand"][rule]
    theirs = NAMES | WHOLE
    scores = measured(CASES[name], rule, [*dict.fromkeys(theirs.values()), FIRST])
    for key, ours in theirs.items():
        each = [query[key] if query else 0.0 for query in expected["per_query"]]
        np.testing.assert_allclose(scores.of(ours), each, atol=1e-12, err_msg=key)
        assert scores.mean(ours) == pytest.approx(expected["mean"][key]["mean_counting_missing_as_0"], abs=1e-12)
    judged = [number for number, query in enumerate(expected["per_query"]) if query]
    first = scores.of(FIRST)[judged]
    assert first.tolist() == [expected["per_query"][number]["first_rank"] for number in judged]
    assert (np.median(first), first.mean()) == (
        expected["mean"]["median_rank"],
        pytest.approx(expected["mean"]["mean_rank"]),
    )
    assert scores.barren == len(expected["per_query"]) - len(judged)


@pytest.mark.parametrize("name", CASES)
def test_open_ties_give_the_expected_figures(name):
    scores, judgements = arrays(CASES[name])
    average = evaluate(rank(scores), judgements, [f"{m}@{k}" for m in ("R", "nDCG") for k in KS], tie="average")
    places = find(rank(scores), judgements)
    starts = judgements.relevant.starts[1:-1]
    for expected, above, tied, query in zip(
        (case for case in CASES[name]["expected_under_random_ties"]),
        np.split(places.above, starts),
        np.split(places.tied, starts),
        range(len(judgements)),
        strict=True,
    ):
        if expected is None:
            continue
        assert (above + 1).tolist() == expected["optimistic_rank_1_plus_strictly_greater"]
        assert (above + (tied + 1) / 2).tolist() == expected["mean_rank_of_each_positive"]
        for k in KS:
            assert average.of(f"R@{k}")[query] == pytest.approx(expected[f"expected_recall@{k}"], abs=1e-12)
    for k in KS:
        gain = average.of(f"nDCG@{k}")[judgements.counts > 0]
        key = f"expected_ndcg@{k}_linear_per_query_with_positives"
        np.testing.assert_allclose(gain, CASES[name]["by_hand_tie_aware"][key], atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_figures_agree_with_ir_measures_which_orders_ties_by_descending_id(name):
    theirs = CASES[name]["libraries"]["ir_measures_aggregate"]
    scores = measured(CASES[name], "index_desc", list(theirs))
    assert {key: scores.mean(key) for key in theirs} == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_running_mean_of_the_official_image_to_video_code_is_its_fault(name):
    fault = CASES[name]["APIVR_as_coded_fault_running_mean_over_K"]
    scores = measured(CASES[name], "index", [f"APh@{k}" for k in KS])
    ours = [scores.mean(f"APh@{k}") for k in KS]
    assert [np.mean(ours[: number + 1]) for number in range(len(KS))] == pytest.approx([fault[str(k)] for k in KS])
    right = CASES[name]["by_hand"]["index"]["mean"]
    assert ours == pytest.approx([right[f"map@{k}_div_hits_APIVR"]["mean_counting_missing_as_0"] for k in KS])


@pytest.mark.parametrize("name", ["square_diagonal_no_ties", "square_diagonal_ties"])
def test_counting_every_tied_place_as_a_query_is_the_fault_of_the_official_text_to_video_code(name):
    case = CASES[name]
    scores, judgements = arrays(case)
    places = find(rank(scores), judgements)
    every = np.concatenate([np.arange(s, s + g) + 1 for s, g in zip(places.above, places.tied, strict=True)])
    fault = case["libraries"]["MIL-NCE_metrics.py"]
    counted = [np.mean(every <= k) for k in (1, 5, 10)]
    assert [*counted, np.median(every), len(every)] == pytest.approx(
        [fault["R1"], fault["R5"], fault["R10"], fault["MR"], fault["number_of_ranks_it_used"]]
    )
    ours = evaluate(rank(scores), judgements, ["Success@1", "Success@5", "Success@10", "MedR"], tie="optimistic")
    expected = case["text_to_video_by_hand_optimistic"]
    assert [ours.mean(measure) for measure in ours.values] == pytest.approx([expected[k] for k in expected])


def test_missing_answers_count_as_nothing_found():
    golden = RETRIEVAL["missing_queries"]
    scores, judgements = arrays(CASES[golden["base_case"]])
    gone = [judgements.ids.index(query) for query in golden["queries_removed_from_run"]]
    rows = rank(scores).rows.copy()
    rows[gone] = -1
    ours = evaluate(Ranking(rows, rank(scores).scores), judgements, ["AP", "R@5"])
    expected = golden["by_hand_missing_as_0"]
    assert (ours.mean("AP"), ours.mean("R@5")) == pytest.approx((expected["map"], expected["recall_5"]))
    assert (ours.mean("AP"), ours.mean("R@5")) == pytest.approx(tuple(golden["ir_measures"].values()))
    assert (ours.n, ours.missing) == (10, 2)
    higher = np.delete(ours.of("AP"), gone).mean()
    assert higher == pytest.approx(golden["pytrec_eval_mean_over_returned"]["map"])


@pytest.mark.parametrize("number", range(3))
def test_small_lists_agree_with_what_was_worked_by_hand(number):
    example = RETRIEVAL["micro_examples"][number]
    listed, k = np.array(example["ranked_rel"]), example["K"]
    rows = np.arange(len(listed))
    unlisted = [len(listed) + each for each in range(example["R"] - listed.sum())]
    relevant = Ragged.of([[*np.flatnonzero(listed).tolist(), *unlisted]])
    judgements = Judgements(["a"], relevant, np.ones(example["R"], np.int64), np.array([99]), [""])
    spelt = {"apivr": f"APh@{k}", "map_div_R": f"AP@{k}", "recall": f"R@{k}", "mrr": "RR", "ndcg_linear": f"nDCG@{k}"}
    expected = {ours: example[theirs] for theirs, ours in spelt.items() if theirs in example}
    scores = evaluate(Ranking.listed(rows[None]), judgements, list(expected))
    assert {ours: scores.mean(ours) for ours in expected} == pytest.approx(expected)


CIRR = CIR["cirr"]
GALLERY = CIRR["gallery"]
CIRR_SCORES = np.array(CIRR["scores"])
COLUMN = {name: column for column, name in enumerate(GALLERY)}


def cirr(*, soft=False, subset=False, kept=False):
    """The official annotations as a task: hard targets, or labels in tenths."""
    questions = [
        Question(
            str(row["pairid"]),
            Query(media={"image": row["reference"], "text": row["caption"]}),
            {name: round(10 * label) for name, label in row["target_soft"].items() if label > 0}
            if soft
            else {row["target_hard"]: 1},
            exclude=() if kept else (row["reference"],),
            candidates=tuple(row["img_set"]["members"]) if subset else None,
        )
        for row in CIRR["annotations"]
    ]
    items = [Item(name, {"image": name}) for name in GALLERY]
    return check(Task("cirr", "0", items, questions, ("Success@5",), "image", "", ""))


def removed():
    scores = CIRR_SCORES.copy()
    for query, row in enumerate(CIRR["annotations"]):
        scores[query, COLUMN[row["reference"]]] = -np.inf
    return scores


def inset():
    lists = [
        [COLUMN[name] for name in row["img_set"]["members"] if name != row["reference"]] for row in CIRR["annotations"]
    ]
    candidates = Ragged.of(lists)
    return order(candidates, CIRR_SCORES[candidates.owner, candidates.rows])


@pytest.mark.parametrize("soft", [False, True])
def test_cirr_recall_and_subset_recall_agree_with_the_official_figures(soft):
    kind = "Soft" if soft else "Success"
    expected = CIRR["expected_soft_CIRPLANT" if soft else "expected_hard"]
    everyone = evaluate(rank(removed()), judge(cirr(soft=soft)), [f"{kind}@{k}" for k in (1, 2, 5, 10, 50)])
    subset = evaluate(inset(), judge(cirr(soft=soft, subset=True)), [f"{kind}@{k}" for k in (1, 2, 3)])
    for k in (1, 2, 5, 10, 50):
        assert everyone.mean(f"{kind}@{k}") == pytest.approx(expected[f"recall@{k}"])
    for k in (1, 2, 3):
        assert subset.mean(f"{kind}@{k}") == pytest.approx(expected[f"recall_subset@{k}"])
    if not soft:
        headline = (everyone.mean("Success@5") + subset.mean("Success@1")) / 2
        assert headline == pytest.approx(expected["avg_recall5_and_subset1"])


@pytest.mark.parametrize("soft", [False, True])
def test_setting_the_reference_to_the_row_minimum_is_the_fault_of_the_official_code(soft):
    scores = CIRR_SCORES.copy()
    for query, row in enumerate(CIRR["annotations"]):
        scores[query, COLUMN[row["reference"]]] = scores[query].min()
    kind, official = ("Soft", "official_CIRPLANT_soft") if soft else ("Success", "official_CIRPLANT_hard")
    fault = evaluate(rank(scores), judge(cirr(soft=soft, kept=True)), [f"{kind}@{k}" for k in (1, 2, 5, 10, 50, 100)])
    for k in (1, 2, 5, 10, 50, 100):
        assert fault.mean(f"{kind}@{k}") == pytest.approx(CIRR[official][f"recall_top{k}_correct_composition"])
    # It makes a tie with the last image; a reference that does not compete ties with nothing.
    level = [len(np.unique(row)) for row in scores]
    assert level == [len(GALLERY) - 1] * len(scores)
    assert evaluate(rank(removed()), judge(cirr(soft=soft)), ["RR"]).ties == 0


def test_cirr_with_the_reference_kept_gets_less():
    kept = evaluate(rank(CIRR_SCORES), judge(cirr(kept=True)), [f"Success@{k}" for k in (1, 2, 5, 10)])
    wrong = CIRR["expected_if_reference_wrongly_kept"]
    for k in (1, 2, 5, 10):
        assert kept.mean(f"Success@{k}") == pytest.approx(wrong[f"recall@{k}_reference_NOT_removed"])


def test_cirr_ranks_and_lists_agree_one_by_one():
    worked = CIRR["worked"]
    assert ranks(rank(removed()), judge(cirr())).tolist() == [row["rank_of_target_reference_removed"] for row in worked]
    assert ranks(rank(CIRR_SCORES), judge(cirr(kept=True))).tolist() == [
        row["rank_of_target_reference_kept"] for row in worked
    ]
    assert ranks(inset(), judge(cirr(subset=True))).tolist() == [row["subset_rank_of_target"] for row in worked]
    for query, row in enumerate(worked):
        listed = [GALLERY[column] for column in rank(removed()).rows[query] if column >= 0]
        assert listed == CIRR["server_json_recall"][str(row["pairid"])]
        small = [GALLERY[column] for column in inset().rows[query]]
        assert small == row["subset_ranking_reference_removed"]
        assert small[:3] == CIRR["server_json_recall_subset"][str(row["pairid"])]


FASHION = CIR["fashioniq"]


def fashion(*, kept, mirrored=False):
    """Three categories as groups of one task; other categories do not compete. Mirrored: scores from last to first."""
    items = [Item(name, {"image": name}) for each in FASHION["categories"].values() for name in each["gallery_split"]]
    column = {item.id: number for number, item in enumerate(items)}
    questions, scores = [], []
    for category, each in FASHION["categories"].items():
        first = column[each["gallery_split"][0]]
        for number, (row, own) in enumerate(zip(each["annotations"], each["scores"], strict=True)):
            scores.append(np.full(len(items), -np.inf))
            scores[-1][first : first + len(own)] = own[::-1] if mirrored else own
            reference = row["candidate"]
            scores[-1][column[reference]] = scores[-1][column[reference]] if kept else -np.inf
            questions.append(
                Question(
                    f"{category}{number}{'m' * mirrored}",
                    Query(media={"image": reference, "text": " and ".join(row["captions"])}),
                    {row["target"]: 1},
                    exclude=() if kept else (reference,),
                    candidates=tuple(each["gallery_split"]),
                    group=category,
                )
            )
    task = Task("fashion_iq", "0", items, questions, ("Success@10", "Success@50"), "image", "", "")
    return rank(np.array(scores)), check(task)


@pytest.mark.parametrize("state", ["kept", "removed"])
def test_fashion_iq_averages_categories_and_agrees_with_official_code(state):
    ranking, task = fashion(kept=state == "kept")
    scores = evaluate(ranking, judge(task), ["Success@10", "Success@50"])
    for category, each in FASHION["categories"].items():
        for k in (10, 50):
            mine = scores.by_group(f"Success@{k}")[category]
            assert mine == pytest.approx(each[f"expected_reference_{state}"][f"R@{k}"])
    macro = FASHION[f"macro_average_reference_{state}"]
    assert scores.mean("Success@10") == pytest.approx(macro["R@10"])
    assert scores.mean("Success@50") == pytest.approx(macro["R@50"])
    own = [rank for each in FASHION["categories"].values() for rank in each[f"rank_of_target_reference_{state}"]]
    assert ranks(ranking, judge(task)).tolist() == own
    if state == "kept":
        percent = [each["CLIP4Cir_compute_fiq_val_metrics_percent"] for each in FASHION["categories"].values()]
        assert [scores.mean("Success@10"), scores.mean("Success@50")] == pytest.approx(np.mean(percent, axis=0) / 100)
        headline = (scores.mean("Success@10") + scores.mean("Success@50")) / 2
        assert headline == pytest.approx(FASHION["score_mean_of_R10_R50_macro"])
        micro = FASHION["micro_average_over_all_queries_NOT_the_protocol"]
        assert scores.of("Success@10").mean() == pytest.approx(micro["R@10"])


def test_both_caption_orders_are_two_questions_and_average_within_their_category():
    one, first = fashion(kept=True)
    two, second = fashion(kept=True, mirrored=True)
    both = Task("both", "0", first.items, [*first.questions, *second.questions], first.measures, "image", "", "")
    joined = Ranking(np.concatenate([one.rows, two.rows]), np.concatenate([one.scores, two.scores]))
    scores = evaluate(joined, judge(check(both)), ["Success@10"])
    alone = [evaluate(r, judge(t), ["Success@10"]).mean("Success@10") for r, t in ((one, first), (two, second))]
    assert (scores.n, scores.mean("Success@10")) == (20, pytest.approx(np.mean(alone)))
    assert alone[0] != alone[1]


@pytest.mark.parametrize("category", FASHION["categories"])
def test_fashion_iq_val_protocol_ranks_references_and_targets_only(category):
    each = FASHION["categories"][category]
    column = {name: number for number, name in enumerate(each["gallery_split"])}
    small = [column[name] for name in each["VAL_protocol_gallery"]]
    candidates = Ragged.of([small] * len(each["scores"]))
    targets = Ragged.of([[column[row["target"]]] for row in each["annotations"]])
    ones = np.ones(len(targets), np.int64)
    judgements = Judgements(list("abcd"[: len(ones)]), targets, ones, ones * len(small), [""] * len(ones))
    own = np.array(each["scores"])[candidates.owner, candidates.rows]
    assert ranks(order(candidates, own), judgements).tolist() == each["VAL_protocol_rank"]
