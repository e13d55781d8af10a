"""Every contrastive loss: two ranks, of which each computes its own rows, have loss and gradient of one."""

import json

import numpy as np
import pytest
import torch
from scipy import sparse
from tests.encoders.train.test_rank import start

from quiver.encoders import _contrast

PROGRAM = """
import json, os, sys
import numpy as np
import torch
import torch.distributed as dist
from pathlib import Path
from scipy import sparse
from torch import nn

from quiver.encoders import _contrast
from quiver.encoders._train import Contrast, Loop, fit, leave, synced
from quiver.encoders._train.rank import share
from quiver.encoders.fashionbert import loss as fashion, phase
from quiver.encoders.map_ivr.loss import triplet
from quiver.encoders.mmv import loss as mmv
from quiver.encoders.mmv.config import Config

rank, ranks = share()
if ranks > 1:
    dist.init_process_group("gloo")
B, D, K = 8, 6, 3
torch.manual_seed(0)
first, second = (nn.functional.normalize(torch.randn(B, D), dim=1) for _ in range(2))
texts = torch.randn(B, K, D)
numbers = torch.stack([torch.tensor([0, 1, 2, 3, 4, 0, 6, 2]), torch.tensor([0, 1, 2, 3, 1, 5, 6, 7])], dim=1)
known = np.zeros((9, 9), bool)
known[numbers[:, 0], numbers[:, 1]] = True
known[3, [0, 5]] = known[6, 7] = True
known = sparse.csr_array(known)
heard = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1]).bool()
told = torch.arange(B * K).view(B, K) % 5 > 1
told[3] = False
group = torch.tensor([0, 1, 2, 1, 4, 5, 2, 7])
labels = torch.tensor([0, 1, 2, 1, 3, 0, 4, 3])
flags = torch.arange(B * K).view(B, K) % 4 == 0

def related(rows, columns):
    return _contrast.in_table(known, rows, columns)

def own(x):
    return x.chunk(ranks)[rank]

def scored(one, other):
    return _contrast.scores(one, other, own(numbers), scale=torch.tensor(4.0), related=related)

def sigmoid(one, other):
    found = scored(one, other)
    return _contrast.sigmoid(found.forth - 2.0, found.hidden, first=found.first)

class Known:
    places = staticmethod(related)

def aligned(one, other):
    rows = {"text": one, "image": other, "factor": torch.tensor(5.0), "numbers": own(numbers)}
    return phase.aligned(Known).compare(rows)["loss"]

def clips(graph):
    config = Config(graph=graph, weight_at=0.0 if graph == "disjoint" else 0.5)
    def loss(one, other):
        text = own(texts) + one[:, None]
        outputs = {("video", space): one for space in ("va", "vat", "s", "v")}
        outputs |= {("audio", space): other for space in ("va", "vat", "s")}
        outputs |= {("text", space): text for space in ("vt", "vat", "s")}
        outputs |= {("video", "vt"): one * 2, ("audio", "at"): other, ("text", "at"): text}
        batch = {"heard": own(heard), "told": own(told), "group": own(group)}
        return mmv.contrast(outputs, batch, config)["loss"]
    return loss

def words(one, other):
    some = own(flags)
    logits = (own(texts) * one[:, None])[some]
    guess = (own(texts) * other[:, None])[some]
    right = own(torch.arange(B * K).view(B, K) % D)[some]
    return fashion.mlm(logits, right) + fashion.mpm(guess, (own(texts) + 1)[some])

losses = {
    "softmax": lambda one, other: _contrast.softmax(scored(one, other), smoothing=0.1),
    "sigmoid": sigmoid,
    "aligned": aligned,
    "disjoint": clips("disjoint"),
    "shared": clips("shared"),
    "triplet": lambda one, other: triplet(one, other, own(labels), margin=0.2),
    "words": words,
}
found = {}
for name, loss in losses.items():
    one, other = first.clone().requires_grad_(), second.clone().requires_grad_()
    value = loss(own(one), own(other)) / ranks
    value.backward()
    value = value.detach()
    if ranks > 1:
        for each in (value, one.grad, other.grad):
            dist.all_reduce(each)
    found[name] = {"loss": value.item(), "gradient": torch.stack([one.grad, other.grad]).tolist()}

torch.manual_seed(1)
model, x = nn.Linear(D, 4), torch.randn(16, 2, D)
def embed(network, batch):
    return {"ask": network(batch["x"][:, 0]), "answer": network(batch["x"][:, 1] ** 2), "rows": batch["rows"]}

contrast = Contrast(
    embed,
    lambda rows: {"loss": _contrast.softmax(_contrast.scores(
        rows["ask"], rows["answer"], rows["rows"], scale=torch.tensor(1.0), related=lambda a, b: (a[:0], b[:0])))},
)
loop = Loop(steps=3, batch=8 // ranks, rate=0.05, device="cpu", accumulate=int(sys.argv[2]) // 2, save_every=2)
rows = torch.arange(16)[:, None].expand(-1, 2)
fit(model, contrast, fetch=lambda at, rng: {"x": x[at], "rows": rows[at]}, count=16, out=Path(sys.argv[1]), loop=loop)
found["parts"] = {"loss": 0.0, "gradient": model.weight.tolist()}
torch.manual_seed(2)
model = synced(nn.Sequential(nn.Linear(D, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)))
x = torch.randn(16, 2, D)
embed = lambda network, batch: {"ask": network(batch[:, 0]), "answer": batch[:, 1, :3]}
gap = lambda rows: {"loss": (rows["ask"] - rows["answer"]).square().mean()}
fit(model, Contrast(embed, gap), fetch=lambda at, rng: x[at], count=16, out=Path(sys.argv[1]), phase="norm",
    loop=Loop(steps=4, batch=8 // ranks, rate=0.05, eps=1e-3, device="cpu"))
found["norm"] = {"loss": float(model[1].num_batches_tracked), "gradient": [
    torch.cat([model[0].weight.flatten(), model[1].running_mean, model[1].running_var]).tolist()]}
found["norm"]["loss"] += model.eval()(x[:2, 0]).square().sum().item()
if rank == 0:
    print("FOUND" + json.dumps(found))
leave()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("losses")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    running = [*start(program, folder / "one", 1), *start(program, folder / "two", 2)]
    ended = [each.communicate(timeout=200) for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], "\n".join(err for _, err in ended)
    return [json.loads(ended[n][0].partition("FOUND")[2]) for n in (0, 1)]


NAMES = ["softmax", "sigmoid", "aligned", "disjoint", "shared", "triplet", "words", "parts", "norm"]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_have_loss_and_gradient_of_one(runs, name):
    one, two = runs
    assert set(one) == set(NAMES)
    assert two[name]["loss"] == pytest.approx(one[name]["loss"], rel=1e-6)
    torch.testing.assert_close(
        torch.tensor(two[name]["gradient"]), torch.tensor(one[name]["gradient"]), rtol=1e-5, atol=1e-6
    )
    assert torch.tensor(one[name]["gradient"]).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_known_pairs_are_found_without_cutting_the_matrix(seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((30, 40)) < rng.random((30, 1))  # some rows hold more than there are columns
    dense[3] = False
    known = sparse.csr_array(dense)
    rows, columns = rng.integers(0, 30, 12), rng.integers(0, 40, 9)
    found = np.zeros((12, 9), int)
    np.add.at(found, _contrast.in_table(known, rows, columns), 1)
    assert np.array_equal(found, dense[np.ix_(rows, columns)])
    none = _contrast.in_table(known, rows[:0], columns)
    assert [len(each) for each in none] == [0, 0]


def test_a_signal_to_one_rank_stops_all_after_the_same_update(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        """
import os, signal, sys, time
from pathlib import Path
import torch
from quiver.encoders._train import Loop, Stopped, fit

model, x = torch.nn.Linear(3, 1), torch.randn(64, 3)
steps = []

def loss(network, batch):
    steps.append(1)
    if len(steps) == 5 and os.environ.get("RANK") == "1":
        signal.raise_signal(signal.SIGTERM)
    return {"loss": network(batch).square().mean()}

try:
    fit(model, loss, fetch=lambda rows, rng: x[rows], count=64, out=Path(sys.argv[1]),
        loop=Loop(steps=500, batch=4, rate=0.1, device="cpu"))
except Stopped as stop:
    print("STEPS", len(steps), flush=True)
    sys.exit(stop.status)
"""
    )
    running = start(program, tmp_path / "out", 2)
    ended = [each.communicate(timeout=120) for each in running]
    assert [each.returncode for each in running] == [143, 143], "\n".join(err for _, err in ended)
    assert [out.partition("STEPS ")[2].strip() for out, _ in ended] == ["5", "5"]
    assert "stopped by SIGTERM after step 5" in ended[0][0]
    assert [each.name for each in (tmp_path / "out/resume/main").iterdir()] == ["step-00000005-00000000"]
