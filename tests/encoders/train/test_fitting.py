import json
import math
import signal
import threading
import traceback
from dataclasses import replace

import pytest
import torch
from torch import nn

from quiver.encoders._train import Loop, fit
from quiver.encoders._train.order import Order
from quiver.errors import BadData, BadSpec


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state(), other.state(), strict=True))


def fetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def interrupted(one, step):
    """Return a loss that is interrupted when it is asked for the so-manieth time."""

    def loss(model, batch):
        if one.steps == step - 1:
            signal.raise_signal(signal.SIGINT)
        return one.loss(model, batch)

    return loss


def lines(out, kind):
    return [line for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if line["kind"] == kind]


def test_fit_equals_a_plain_loop_written_out(tmp_path):
    torch.manual_seed(0)
    x, target = torch.randn(12, 3), torch.randn(12, 2)
    ours = nn.Linear(3, 2)
    plain = nn.Linear(3, 2)
    plain.load_state_dict(ours.state_dict())
    adam = torch.optim.Adam(plain.parameters(), lr=0.1)
    order = Order.of(12, 4, seed=5)
    for step in range(7):
        adam.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / 7))
        rows = order.rows(step)
        adam.zero_grad()
        (plain(x[rows]) - target[rows]).square().mean().backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        adam.step()
    loop = Loop(steps=7, batch=4, rate=0.1, optimiser="adam", clip=0.5, seed=5, device="cpu")
    outcome = fit(
        ours,
        lambda model, batch: {"loss": (model(batch[0]) - batch[1]).square().mean()},
        fetch=lambda rows, rng: (x[rows], target[rows]),
        count=12,
        out=tmp_path,
        loop=loop,
    )
    assert torch.equal(ours.weight, plain.weight) and torch.equal(ours.bias, plain.bias)
    assert (outcome.step, outcome.best, outcome.figures) == (7, 7, {}) and not ours.training


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_parts_may_learn_at_rates_of_their_own_with_other_betas_also_after_a_resume(tmp_path, optimiser):
    torch.manual_seed(0)
    x, target = torch.randn(12, 3), torch.randn(12, 2)
    ours, plain, cut = (nn.ModuleDict({"tower": nn.Linear(3, 4), "head": nn.Linear(4, 2)}) for _ in range(3))
    for each in (plain, cut):
        each.load_state_dict(ours.state_dict())
    weights = [plain["tower"].weight, plain["head"].weight]
    biases = [plain["tower"].bias, plain["head"].bias]
    groups = [
        {"params": [parameter], "lr": 0.1 * scale, "weight_decay": decay}
        for parameters, decay in ((weights, 0.3), (biases, 0.0))
        for parameter, scale in zip(parameters, (0.01, 1.0), strict=True)
    ]
    kind = torch.optim.AdamW if optimiser == "adamw" else torch.optim.Adam
    written_out = kind(groups, betas=(0.8, 0.95), eps=1e-3)
    order = Order.of(12, 4, seed=5)

    def predict(model, x):
        return model["head"](model["tower"](x))

    for step in range(6):
        rows = order.rows(step)
        written_out.zero_grad()
        (predict(plain, x[rows]) - target[rows]).square().mean().backward()
        written_out.step()
    settings = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "scales": "tower.=1e-2", "decay": 0.3, "optimiser": optimiser}
    loop = Loop(steps=6, batch=4, rate=0.1, schedule="constant", seed=5, device="cpu", **settings)

    def loss(model, batch):
        return {"loss": (predict(model, batch[0]) - batch[1]).square().mean()}

    given = {"fetch": lambda rows, rng: (x[rows], target[rows]), "count": 12}
    fit(ours, loss, out=tmp_path / "whole", loop=loop, **given)
    fit(cut, loss, out=tmp_path / "cut", loop=replace(loop, steps=2), **given)
    assert fit(cut, loss, out=tmp_path / "cut", loop=loop, **given).resumed == 2
    for model in (ours, cut):
        for one, other in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_scales_that_make_no_sense_are_refused(tmp_path, bench):
    for said in ("tower", "tower.=x", "=1", "tower.=-1", "tower.=nan"):
        with pytest.raises(BadSpec, match="is not PREFIX=FACTOR"):
            bench().fit(tmp_path, scales=said)
    with pytest.raises(BadSpec, match=r"no trained parameter begins with 'tower\.', such as 0\.weight"):
        bench().fit(tmp_path, scales="tower.=0.1")
    with pytest.raises(BadSpec, match="beta1 and beta2"):
        bench().fit(tmp_path, beta2=1.0)


@pytest.mark.parametrize("stop", [1, 7, 10, 20])
def test_a_run_stopped_by_ctrl_c_ends_like_an_undisturbed_one(tmp_path, bench, stop):
    whole, broken, resumed = bench(), bench(), bench()
    undisturbed = whole.fit(tmp_path / "whole")

    def loss(model, batch):
        parts = broken.loss(model, batch)
        if broken.steps == stop:
            signal.raise_signal(signal.SIGINT)
        return parts

    with pytest.raises(KeyboardInterrupt):
        broken.fit(tmp_path / "other", loss=loss)
    assert broken.steps == stop and not fetching()
    with torch.random.fork_rng():
        torch.manual_seed(99)  # what the process drew before does not matter
        outcome = resumed.fit(tmp_path / "other")
    assert resumed.steps == 20 - stop and outcome.resumed == stop
    assert same(whole, resumed) and outcome.figures == undisturbed.figures
    assert [line["step"] for line in lines(tmp_path / "other", "validation")] == [5, 10, 15, 20]


def test_a_crash_in_fetch_shows_its_own_lines_and_the_run_resumes_from_the_last_state(tmp_path, bench):
    whole, broken, resumed = bench(), bench(), bench()
    whole.fit(tmp_path / "whole", save_every=5)
    calls = []

    def fetch(rows, rng):
        calls.append(1)
        if len(calls) == 13:
            raise OSError("the disk is gone")
        return broken.fetch(rows, rng)

    with pytest.raises(OSError, match="the disk is gone") as caught:
        broken.fit(tmp_path / "other", fetch=fetch, save_every=5, log_every=1)
    assert any("the disk is gone" in frame.line for frame in traceback.extract_tb(caught.tb))
    assert not fetching()
    assert broken.steps == 12
    (tmp_path / "other/resume/main/step-00000099-00000000.part").mkdir()  # what a kill leaves behind
    assert resumed.fit(tmp_path / "other", save_every=5, log_every=1).resumed == 10
    assert same(whole, resumed)
    assert [line["step"] for line in lines(tmp_path / "other", "train")] == list(range(1, 21))


def test_the_best_state_is_left_and_not_the_last(tmp_path, bench):
    scores = iter([0.1, 0.9, 0.9, 0.3])
    seen = []

    def validate(model):
        assert not model.training and not torch.is_grad_enabled()
        seen.append([tensor.clone() for tensor in model.state_dict().values()])
        return {"recall": next(scores), "other": 7}

    one = bench()
    outcome = one.fit(tmp_path, validate=validate)
    assert outcome.best == 10 and outcome.figures == {"recall": 0.9, "other": 7.0}
    assert all(torch.equal(a, b) for a, b in zip(one.state(), seen[1], strict=True))


def test_phases_keep_apart_and_one_that_is_done_is_not_done_again(tmp_path, bench):
    one = bench()
    one.fit(tmp_path, phase="first", steps=5)
    one.fit(tmp_path, phase="second", steps=10, precision="bf16")
    again = bench()
    assert again.fit(tmp_path, phase="first", steps=5).resumed == 5
    assert again.fit(tmp_path, phase="second", steps=10, precision="bf16").losses == {}
    assert again.steps == 0 and same(one, again)
    assert [line["phase"] for line in lines(tmp_path, "train")] == ["first", "second", "second"]
    assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"


def test_steps_may_be_raised_and_other_settings_not_changed(tmp_path, bench):
    steady = {"schedule": "constant"}
    bench().fit(tmp_path, steps=5, **steady)
    more = bench()
    assert more.fit(tmp_path, steps=8, **steady).resumed == 5 and more.steps == 3
    with pytest.raises(BadSpec, match=r"rate=0.01, not 0.5.*--fresh"):
        bench().fit(tmp_path, steps=8, rate=0.5, **steady)
    with pytest.raises(BadSpec, match="steps=8, not 5"):
        bench().fit(tmp_path, steps=5, **steady)
    with pytest.raises(BadSpec, match="count=50, not 49"):
        bench().fit(tmp_path, steps=8, count=49, **steady)
    other = bench()
    other.model = nn.Linear(4, 1)
    with pytest.raises(BadSpec, match=r"of another model: start over"):
        other.fit(tmp_path, steps=8, **steady)


@pytest.mark.parametrize("stopped", [False, True], ids=["finished", "stopped half way"])
def test_more_steps_than_planned_do_not_raise_the_rate_of_a_cosine_in_silence(tmp_path, bench, stopped):
    one = bench()
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            one.fit(tmp_path, steps=10, loss=interrupted(one, 6))
    else:
        one.fit(tmp_path, steps=10)
    with pytest.raises(BadSpec, match=r"planned for steps=10, where its cosine ends.*loop.extend=restart"):
        bench().fit(tmp_path, steps=20)
    assert bench().fit(tmp_path, steps=10).step == 10  # the plan still holds


def test_a_restart_leaves_the_first_plan_as_it_was_and_begins_a_second_cosine_after_it(tmp_path, bench):
    whole = {"log_every": 1, "validations": 2, "validate_every": 0}
    bench().fit(tmp_path / "once", steps=10, **whole)
    once = [line["rate"] for line in lines(tmp_path / "once", "train")]
    bench().fit(tmp_path / "once", steps=20, extend="restart", **whole)
    stopped = bench()
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(tmp_path / "often", steps=10, loss=interrupted(stopped, 6), **whole)
    again = bench()
    with pytest.raises(KeyboardInterrupt):
        again.fit(tmp_path / "often", steps=20, extend="restart", loss=interrupted(again, 8), **whole)
    last = bench()
    assert last.fit(tmp_path / "often", steps=20, extend="restart", **whole).resumed == 14
    rates, parts = (
        {line["step"]: line["rate"] for line in lines(tmp_path / place, "train")} for place in ("once", "often")
    )
    assert list(rates.values()) == once + once  # as many steps again, so warmup and cosine again
    assert parts == {step: rate for step, rate in rates.items() if step not in (6, 14)}  # where it was interrupted
    with pytest.raises(BadSpec, match="planned for steps=20"):
        bench().fit(tmp_path / "often", steps=30, **whole)


def test_a_run_that_validates_and_warms_up_by_shares_can_be_extended(tmp_path, bench):
    shares = {"warmup": 0, "warmup_share": 0.3, "validations": 2, "validate_every": 0, "schedule": "constant"}
    bench().fit(tmp_path, steps=10, log_every=1, **shares)
    bench().fit(tmp_path, steps=20, log_every=1, **shares)
    assert [line["step"] for line in lines(tmp_path, "validation")] == [5, 10, 20]
    rates = [line["rate"] for line in lines(tmp_path, "train")]
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3] + [0.01] * 18)


@pytest.mark.parametrize("what", ["loss", "norm of the gradient"])
def test_what_is_not_finite_stops_the_run_and_names_the_step(tmp_path, bench, what):
    one = bench()

    def loss(model, batch):
        found = one.loss(model, batch)["loss"]
        if one.steps < 4:
            return {"loss": found}
        return {"loss": found * math.nan} if what == "loss" else {"loss": (found - found.detach()).abs().sqrt()}

    with pytest.raises(BadData, match=f"the {what} is .* at step 4: try a lower rate, a longer warmup, clip=1"):
        one.fit(tmp_path, loss=loss, clip=None)
    assert all(torch.isfinite(tensor).all() for tensor in one.state())


def test_a_figure_that_selects_nothing_is_refused(tmp_path, bench):
    with pytest.raises(BadData, match="validation gives recall=nan after step 5"):
        bench().fit(tmp_path, validate=lambda model: {"recall": math.nan})


def test_batch_normalisation_needs_two_rows(tmp_path, bench):
    with pytest.raises(BadData, match="at least 2 rows"):
        bench().fit(tmp_path, batch=1)


def test_frozen_weights_stay_and_vectors_do_not_decay(tmp_path, bench):
    one = bench()
    one.model[0].weight.requires_grad_(False)
    before = one.model[0].weight.clone()

    def loss(model, batch):
        return {"loss": 0 * one.loss(model, batch)["loss"]}  # decay alone moves the weights

    scale, bias = one.model[3].weight.clone(), one.model[3].bias.clone()
    one.fit(tmp_path, loss=loss, steps=1, warmup=0, validate=None)
    assert torch.equal(one.model[0].weight, before) and torch.equal(one.model[3].bias, bias)
    torch.testing.assert_close(one.model[3].weight, scale * (1 - 0.01 * 0.1))


def test_a_pipe_gets_lines_and_no_bar(tmp_path, bench, capsys):
    bench().fit(tmp_path, phase="warm")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0] == "warm: training 65 weights on 50 rows, 20 steps on cpu, fp32"
    assert "2 random rows are left out of each epoch" in said.out and "warm: step 20/20  loss " in said.out


def test_fp16_on_a_cpu_is_refused(tmp_path, bench):
    with pytest.raises(BadSpec, match="precision=fp16 needs a GPU"):
        bench().fit(tmp_path, precision="fp16")
