"""Settings of the loop beside those of ``test_fitting``: parts, averages, patience, compilers, workers, signals."""

import json
import math
import multiprocessing
import os
import re
import signal
import threading
import time

import numpy as np
import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from torch import nn

from quiver.encoders._train import Contrast, Loop, Progress, Stopped, fit
from quiver.encoders._train import progress as progress_module
from quiver.encoders._train.batches import ahead
from quiver.encoders._train.order import Order
from quiver.encoders._train.tracker import KNOWN
from quiver.errors import BadData, BadSpec, MissingExtra


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state(), other.state(), strict=True))


OPTIONS = {
    "all": {"accumulate": 3, "ema": 0.8, "patience": 9, "fused": True, "workers": 2, "scales": "0.=0.1", "beta2": 0.95},
    "compiled": {"compile": "aot_eager"},
}


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_run_stopped_by_sigterm_half_way_ends_like_an_undisturbed_one(tmp_path, bench, options):
    whole, broken, resumed = bench(), bench(), bench()
    undisturbed = whole.fit(tmp_path / "whole", **options)
    parts = options.get("accumulate", 1)

    def loss(model, batch):
        found = broken.loss(model, batch)
        if broken.steps == 10 * parts:
            signal.raise_signal(signal.SIGTERM)
        return found

    with pytest.raises(Stopped, match="SIGTERM") as stop:
        broken.fit(tmp_path / "other", loss=loss, **options)
    assert stop.value.status == 143
    outcome = resumed.fit(tmp_path / "other", **options)
    assert resumed.steps == 10 * parts and outcome.resumed == 10
    assert same(whole, resumed) and outcome.figures == undisturbed.figures
    assert not multiprocessing.active_children() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing_in_a_batch(workers):
    order = Order.of(23, 4, seed=1)

    def fetch(step):
        return {
            "rows": torch.from_numpy(order.rows(step)),
            "noise": order.generator(step).random(3),
            "pid": os.getpid(),
        }

    found = list(ahead(fetch, range(3, 12), workers=workers))
    assert os.getpid() not in {each["pid"] for each in found}
    for each, step in zip(found, range(3, 12), strict=True):
        assert each["rows"].tolist() == order.rows(step).tolist()
        assert isinstance(each["noise"], np.ndarray) and np.array_equal(each["noise"], order.generator(step).random(3))


def test_an_error_of_a_worker_arrives_in_its_turn_as_it_was_raised_and_the_workers_end():
    class Own(Exception):
        pass

    def fetch(step):
        if step == 2:
            raise BadData("row 7 cannot be read")
        return step

    batches = ahead(fetch, range(9), workers=2)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(BadData, match=r"^row 7 cannot be read") as caught:
        next(batches)
    assert str(caught.value) == "row 7 cannot be read" and "in fetch" in "".join(caught.value.__notes__)

    def local(step):
        raise Own("of a class that no other process knows")

    with pytest.raises(RuntimeError, match="Own: of a class that no other process knows"):
        next(ahead(local, range(2), workers=1))
    early = ahead(lambda step: step, range(100), workers=2)
    assert next(early) == 0
    early.close()
    assert not multiprocessing.active_children()


class Towers(nn.Module):
    """Two towers and a temperature, without randomness."""

    def __init__(self):
        super().__init__()
        self.ask, self.answer = nn.Linear(5, 3), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, batch):
        return {"ask": self.ask(batch[0]), "answer": self.answer(batch[1]), "scale": self.scale.exp()}


def compared(rows):
    logits = rows["scale"] * rows["ask"] @ rows["answer"].T
    own = torch.arange(len(logits))
    both = nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)
    return {"loss": both, "scale": rows["scale"].detach()}


def towers(out, loss=None, **options):
    torch.manual_seed(0)
    model, x, y = Towers(), torch.randn(12, 5), torch.randn(12, 5)
    loop = Loop(steps=4, batch=12, rate=0.05, schedule="constant", device="cpu", optimiser="adam", **options)
    given = loss or Contrast(lambda network, batch: network(batch), compared)
    outcome = fit(model, given, fetch=lambda rows, rng: (x[rows], y[rows]), count=12, out=out, loop=loop)
    return torch.cat([each.detach().flatten() for each in model.parameters()]), outcome.losses


def test_a_contrast_in_parts_is_that_of_the_whole_batch(tmp_path):
    whole, losses = towers(tmp_path / "whole")
    for parts in (5, 99):
        split, split_losses = towers(tmp_path / str(parts), accumulate=parts)
        torch.testing.assert_close(split, whole, rtol=1e-6, atol=1e-6)
        assert split_losses == pytest.approx(losses, rel=1e-6)
    parts, _ = towers(tmp_path / "parts", loss=lambda model, batch: compared(model(batch)), accumulate=4)
    assert (whole - parts).abs().max() > 1e-3  # a plain loss compares the rows of a part alone


def test_gradients_of_parts_add_up_to_those_of_the_batch(tmp_path):
    def loss(model, batch):
        made = model(batch)
        return {"loss": (made["scale"] * made["ask"] - made["answer"]).square().mean()}

    whole, losses = towers(tmp_path / "whole", loss=loss)
    split, split_losses = towers(tmp_path / "split", loss=loss, accumulate=5)
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-6)
    assert split_losses == pytest.approx(losses, rel=1e-6)


def test_dropout_is_the_same_in_both_passes_and_running_statistics_see_each_row_once(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(4, momentum=1.0), nn.Dropout(0.5), nn.Linear(4, 3))
    x, seen = torch.randn(8, 4), []

    def embed(network, batch):
        seen.append(network(batch))
        return {"rows": seen[-1]}

    loop = Loop(steps=1, batch=8, rate=0.1, device="cpu", accumulate=2)
    contrast = Contrast(embed, lambda rows: {"loss": rows["rows"].square().mean()})
    fit(model, contrast, fetch=lambda rows, rng: x[rows], count=8, out=tmp_path, loop=loop)
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3]) and not torch.equal(seen[0], seen[1])
    last = Order.of(8, 8, seed=0).rows(0)[4:]
    torch.testing.assert_close(model[0].running_mean, x[last].mean(0))
    assert model[0].num_batches_tracked == 2


def test_batch_normalisation_needs_two_rows_in_each_part(tmp_path, bench):
    with pytest.raises(BadData, match=r"at least 2 rows.*or lower accumulate"):
        bench().fit(tmp_path, accumulate=9)


def test_the_mean_of_the_weights_is_validated_and_left(tmp_path):
    torch.manual_seed(0)
    model, plain = nn.Linear(3, 1), nn.Linear(3, 1)
    plain.load_state_dict(model.state_dict())
    x, seen = torch.randn(6, 3), []
    adam = torch.optim.AdamW(plain.parameters(), lr=0.1, weight_decay=0)
    mean = plain.weight.detach().clone()
    for step in range(1, 6):
        adam.zero_grad()
        plain(x).square().mean().backward()
        adam.step()
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * plain.weight.detach()
    loop = Loop(steps=5, batch=6, rate=0.1, schedule="constant", device="cpu", ema=0.5)
    fit(
        model,
        lambda network, batch: {"loss": network(batch).square().mean()},
        fetch=lambda rows, rng: x[rows],
        count=6,
        out=tmp_path,
        loop=loop,
        validate=lambda network: seen.append(network.weight.detach().clone()) or {"fit": 1.0},
    )
    torch.testing.assert_close(model.weight, mean, rtol=1e-6, atol=1e-6)
    assert torch.equal(seen[0], model.weight) and not torch.allclose(mean, plain.weight, atol=1e-3)
    again = nn.Linear(3, 1)
    fit(again, lambda *_: {}, fetch=lambda rows, rng: x[rows], count=6, out=tmp_path, loop=loop)
    assert torch.equal(again.weight, model.weight)


def test_patience_ends_a_training_with_its_best_state(tmp_path, bench, capsys):
    scores = iter([0.1, 0.9, 0.3, 0.4])
    one, again = bench(), bench()
    outcome = one.fit(tmp_path, steps=40, patience=2, validate=lambda model: {"recall": next(scores)})
    assert (outcome.step, outcome.best, one.steps) == (20, 10, 20)
    assert "2 validations without a better figure: ended after step 20" in capsys.readouterr().out
    assert again.fit(tmp_path, steps=40, patience=2).step == 20 and again.steps == 0 and same(one, again)
    more = again.fit(tmp_path, steps=40, patience=5, validate=lambda model: {"recall": 0.0})
    assert more.resumed == 20 and more.step == 35 and more.best == 10


def test_what_cannot_be_is_refused_in_one_line(tmp_path, bench):
    with pytest.raises(BadSpec, match=r"compile='gcc' is no backend of torch.compile: take inductor"):
        bench().fit(tmp_path, compile="gcc")
    with pytest.raises(BadSpec, match="precision=tf32 needs a GPU"):
        bench().fit(tmp_path, precision="tf32")
    with pytest.raises(BadSpec, match="ema must be from 0 to below 1"):
        bench().fit(tmp_path, ema=1.0)
    with pytest.raises(BadSpec, match="tracker='tensorbord' is unknown: take wandb, mlflow"):
        bench().fit(tmp_path, tracker="tensorbord")
    for name in ("accumulate", "patience", "workers"):
        with pytest.raises(BadSpec, match=f"{name} must be at least"):
            bench().fit(tmp_path, **{name: -1})


def test_a_tracker_without_its_package_is_one_line(tmp_path, bench):
    try:
        import swanlab  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtra, match=r"^swanlab is not installed: pip install swanlab$"):
            bench().fit(tmp_path, tracker="swanlab")


def test_a_service_gets_the_log_under_names_that_it_takes_and_never_ends_a_training(
    tmp_path, bench, capsys, monkeypatch
):
    sent, refused = [], []

    class Service(GeneralTracker):
        """As strict as MLflow about names; it fails after four lines."""

        name, requires_logging_directory, main_process_only = "mlflow", False, False
        tracker = None

        def __init__(self, project):
            super().__init__()
            sent.append(project)

        def start(self):
            if sent[-1] == "down":
                raise ConnectionError("no route\nto host")

        def store_init_configuration(self, values):
            assert values["batch"] == 16

        def log(self, values, step=None):
            refused.extend(name for name in values if not re.fullmatch(r"[\w\-. :/]+", name))
            if len(sent) == 5:
                raise ConnectionError("gone")
            sent.append((step, values))

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", Service)
    monkeypatch.setitem(KNOWN, "mlflow", "torch")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    outcome = bench().fit(tmp_path / "run", tracker="mlflow", phase="p", validate=lambda model: {"R@1": 0.5})
    assert outcome.step == 20 and not refused and sent[0] == "run-p"
    assert [step for step, _ in sent[1:]] == [5, 5, 10, 10] and sent[2][1] == {"validation/R_at_1": 0.5}
    out = capsys.readouterr().out
    assert out.count("mlflow takes no more figures, the training goes on without it: ConnectionError: gone") == 1
    with pytest.raises(
        BadSpec, match=r"loop.tracker=mlflow cannot start: ConnectionError: no route to host. Leave it out"
    ):
        bench().fit(tmp_path / "down", tracker="mlflow")


def test_a_pipe_gets_a_line_a_minute_with_rows_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "PAUSE", 0.05)
    with Progress("patches", 1000, unit="pictures") as progress:
        progress.skip(500)
        progress.update(1)
        time.sleep(0.06)
        progress.update(99)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("patches: 600 of 1,000 pictures, ") and "/s, " in line and line.endswith(" left")
    with Progress("patches", 10, silent=True) as progress:
        time.sleep(0.06)
        progress.update(10)
    assert capsys.readouterr().err == ""


def test_a_signal_outside_of_the_main_thread_is_left_alone(tmp_path, bench):
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: bench().fit(tmp_path, steps=3))
    thread.start()
    thread.join()
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == 3
    assert signal.getsignal(signal.SIGTERM) == before


def test_validation_that_a_signal_interrupts_is_repeated(tmp_path, bench):
    whole, broken, resumed = bench(), bench(), bench()
    whole.fit(tmp_path / "whole", ema=0.5)
    calls = []

    def validate(model):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return broken.validate(model)

    with pytest.raises(Stopped):
        broken.fit(tmp_path / "other", validate=validate, ema=0.5)
    resumed.fit(tmp_path / "other", ema=0.5)
    assert same(whole, resumed) and math.isfinite(resumed.validate(resumed.model)["fit"])
