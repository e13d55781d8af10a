"""Oscar against the numbers of its official code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.encoders.fashionbert.bert import start, translate
from quiver.encoders.fashionbert.loss import mlm
from quiver.encoders.fashionbert.oscar import Config, Oscar, contrast
from quiver.encoders.fashionbert.region import box_terms
from quiver.errors import BadData, MissingWeights

GOLDEN = Path(__file__).parents[2] / "golden" / "oscar.npz"
VARIANTS = {
    "seqcls_linear": (replace(Config.tiny(), norm=False), "labels"),
    "seqcls_mlp_imgln": (replace(Config.tiny(), classifier="mlp"), "labels"),
    "seqcls_regression": (replace(Config.tiny(), norm=False, classes=1), "regression_labels"),
    "pretrain": (replace(Config.tiny(), norm=False), "next_sentence_label"),
    "pretrain3": (replace(Config.tiny(), norm=False, classes=3), "next_sentence_label3"),
}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN, allow_pickle=False) as found:
        return {name: torch.from_numpy(np.asarray(found[name])) for name in found.files}


def build(golden: dict[str, torch.Tensor], variant: str) -> Oscar:
    prefix = f"w/{variant}/"
    theirs = {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}
    theirs = {name.replace("cls.seq_relationship", "classifier"): value for name, value in theirs.items()}
    made = Oscar(VARIANTS[variant][0]).eval()
    missing, unexpected = made.load_state_dict(translate(theirs), strict=False)
    assert not unexpected
    assert all(name.startswith("guess_word") for name in missing)
    assert not missing or not variant.startswith("pretrain")
    return made


def inputs(golden: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    keep = golden["in/attention_mask"][:, 9:].bool()
    return golden["in/input_ids"], golden["in/token_type_ids"], golden["in/img_feats"], keep


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_official_numbers_come_out(golden, variant):
    made, labels = build(golden, variant), golden[f"in/{VARIANTS[variant][1]}"]
    out = {name.rpartition("/")[2]: value for name, value in golden.items() if name.startswith(f"out/{variant}/")}
    with torch.no_grad():
        found = made(*inputs(golden))
        close(found.tokens, out["sequence_output"])
        close(found.pooled, out["pooled_output"])
        close(found.logits, out["logits" if "logits" in out else "seq_relationship"])
        loss = contrast(found.logits, labels)
        if "masked_lm_loss" in out:
            guessed, wanted = made.guess(found.tokens), golden["in/masked_lm_labels"]
            close(guessed, out["prediction_scores"])
            words = mlm(guessed[wanted >= 0], wanted[wanted >= 0])
            close(words, out["masked_lm_loss"])
            loss = loss + words
        close(loss, out["loss"])


def test_the_short_way_gives_the_margin_of_the_long_one(golden):
    made, (text, types, regions, keep) = build(golden, "seqcls_mlp_imgln"), inputs(golden)
    with torch.no_grad():
        logits = made(text, types, regions, keep).logits
        found = made.score(text, types, made.embed_regions(regions), keep)
    close(found, logits[:, 1] - logits[:, 0])


def test_regions_have_no_order_and_tags_have_one(golden):
    made, (text, types, regions, keep) = build(golden, "seqcls_linear"), inputs(golden)
    moved = text.clone()
    moved[0, [6, 7]] = moved[0, [7, 6]]
    with torch.no_grad():
        plain = made(text, types, regions, keep).logits
        close(made(text, types, regions.flip(1), keep.flip(1)).logits, plain)
        assert (made(moved, types, regions, keep).logits - plain)[0].abs().max() > 1e-3


def test_padded_regions_do_not_count(golden):
    made, (text, types, regions, keep) = build(golden, "seqcls_linear"), inputs(golden)
    noisy = torch.where(keep[..., None], regions, 9.0)
    with torch.no_grad():
        close(made(text, types, noisy, keep).logits, made(text, types, regions, keep).logits)


def test_a_margin_needs_two_classes(golden):
    made, (text, types, regions, keep) = build(golden, "pretrain3"), inputs(golden)
    with pytest.raises(BadData, match="needs two classes; this model has 3"):
        made.score(text, types, made.embed_regions(regions), keep)


def test_a_checkpoint_with_a_norm_is_not_read_without_it(golden, tmp_path):
    from safetensors.torch import save_file

    prefix = "w/seqcls_mlp_imgln/"
    save_file(
        {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(MissingWeights, match=r"has regions\.norm\.bias and 1 more"):
        start(Oscar(replace(Config.tiny(), norm=False, classifier="mlp")), tmp_path)
    made = Oscar(replace(Config.tiny(), classifier="mlp"))
    assert all(name.startswith("guess_word") for name in start(made, tmp_path))


def test_box_terms_are_shares_of_the_picture():
    found = box_terms(np.array([[10.0, 0, 30, 20], [0, 5, 45, 10]]), width=40, height=20)
    np.testing.assert_allclose(found, [[0.25, 0, 0.75, 1, 0.5, 1], [0, 0.25, 1, 0.5, 1, 0.25]])
