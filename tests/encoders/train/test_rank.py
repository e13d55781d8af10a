import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quiver.encoders._train import gathered

#: What every rank runs: gradients of two losses through gathered rows, then a training with both.
PROGRAM = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from torch import nn
from quiver.encoders._train import Loop, fit, gathered, leave

torch.manual_seed(0)
model = nn.Linear(5, 3, bias=False)
data = torch.randn(8, 2, 5)

def contrast(left, right, shift):
    aims = torch.arange(len(left)) + shift
    return nn.functional.cross_entropy(left @ right.T, aims)

def full(pairs):
    left, right = gathered(pairs[:, 0]), gathered(pairs[:, 1])
    return contrast(left, right, 0)

def own(pairs):
    right = gathered(pairs[:, 1])
    return contrast(pairs[:, 0], right, len(pairs) * dist.get_rank() if dist.is_initialized() else 0)

def loss(network, batch):
    found = network(batch)
    return {"loss": full(found), "own": own(found)}

def validate(network):
    return {"fit": -full(network(data)).item()}

loop = Loop(steps=6, batch=int(sys.argv[2]), rate=0.05, device="cpu", validate_every=3, log_every=2)
outcome = fit(model, loss, fetch=lambda rows, rng: data[rows], count=8, out=Path(sys.argv[1]), loop=loop,
              validate=validate)
found = {"weight": model.weight.tolist(), "best": outcome.best, "figures": outcome.figures, "losses": outcome.losses}
for name, each in (("full", full), ("own", own)):
    model.zero_grad()
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    value = each(model(data.chunk(ranks)[rank]))
    value.backward()
    gradient, value = model.weight.grad / ranks, value.detach() / ranks
    if ranks > 1:
        dist.all_reduce(gradient), dist.all_reduce(value)
    found[name] = {"loss": value.item(), "gradient": gradient.tolist()}
found["rows"] = gathered(torch.tensor([[rank]])).tolist()
passes = Loop(epochs=3, batch=int(sys.argv[2]) // 2, rate=0.05, device="cpu")  # two steps an epoch, on all ranks
found["steps"] = fit(model, loss, fetch=lambda rows, rng: data[rows], count=8, out=Path(sys.argv[1]), loop=passes,
                     phase="passes").step
print("FOUND" + json.dumps(found))
leave()
"""


def start(program: Path, out: Path, ranks: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(program), str(out), str(8 // ranks)],
            env={**os.environ, **common, **({"RANK": str(n), "LOCAL_RANK": str(n)} if ranks > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(ranks)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    running = [*start(program, folder / "one", 1), *start(program, folder / "two", 2)]
    ended = [each.communicate(timeout=600) for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], "\n".join(err for _, err in ended)
    one, *two = (json.loads(out.partition("FOUND")[2]) for out, _ in ended)
    return one, two, folder


@pytest.mark.parametrize("kind", ["full", "own"])
def test_two_ranks_have_the_loss_and_gradient_of_one_with_the_joined_batch(runs, kind):
    one, two, _ = runs
    for rank in two:
        assert rank[kind]["loss"] == pytest.approx(one[kind]["loss"], rel=1e-6)
        torch.testing.assert_close(torch.tensor(rank[kind]["gradient"]), torch.tensor(one[kind]["gradient"]))


def test_two_ranks_train_as_one_with_the_joined_batch(runs):
    one, two, _ = runs
    for rank in two:
        torch.testing.assert_close(torch.tensor(rank["weight"]), torch.tensor(one["weight"]), rtol=1e-4, atol=1e-5)
        assert rank["losses"] == pytest.approx(one["losses"], rel=1e-4)
        assert rank["best"] == one["best"] and rank["figures"] == pytest.approx(one["figures"], rel=1e-4)
    assert two[0]["weight"] == two[1]["weight"]


def test_epochs_are_passes_over_the_training_set_however_many_ranks_share_it(runs):
    one, two, _ = runs
    assert [run["steps"] for run in (one, *two)] == [6, 6, 6]


def test_rows_are_joined_in_the_order_of_ranks_and_the_first_alone_writes(runs):
    _, two, folder = runs
    assert [rank["rows"] for rank in two] == [[[0], [1]], [[0], [1]]]
    logged = [json.loads(line) for line in (folder / "two/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if line["kind"] == "train" and not line["phase"]] == [2, 4, 6]


def test_one_rank_keeps_its_rows_as_they_are():
    x = torch.ones(2, 3)
    assert gathered(x) is x
