"""Weights divided among two ranks (``loop.shard``) are trained as whole ones are in one process."""

import json
import runpy
import sys

import pytest
import torch
from tests.encoders.clip4idc.test_ranks import start
from torch import nn

from quiver.encoders._settings import changed
from quiver.encoders._train import Loop, fit, sharding, write_recipe
from quiver.encoders.fashionbert.recipe import Recipe as FashionBert
from quiver.encoders.two_tower.train import PRESETS
from quiver.errors import BadSpec

#: What every rank runs; several divide the weights.
PROGRAM = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from quiver.encoders import _contrast
from quiver.encoders._train import Contrast, Loop, fit, leave
from quiver.encoders._train.rank import share
from quiver.encoders._train.sharding import blocks

torch.set_num_threads(1)
out, batch, shard = Path(sys.argv[1]), int(sys.argv[2]) // 2, share()[1] > 1
D = 6

class Net(nn.Module):
    "Blocks, two towers of which few rows use the second, a part that nothing uses, a scalar and a buffer."

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layer = lambda: nn.Sequential(nn.Linear(D, 7), nn.GELU(), nn.Sequential(nn.Linear(7, D), nn.LayerNorm(D)))
        self.blocks = nn.ModuleList(layer() for _ in range(2))
        self.towers = nn.ModuleDict({"often": layer(), "seldom": layer()})
        self.idle = nn.Linear(D, D)
        self.small = nn.Parameter(torch.ones(1))  # with fewer rows than there are ranks
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch):
        x, seldom = batch["x"], batch["seldom"]
        for block in self.blocks:
            x = x + block(x) * self.small
        found = self.towers["often"](x)
        if seldom.any():
            found = torch.where(seldom[:, None], self.towers["seldom"](x), found)
        if self.training and torch.is_grad_enabled():
            self.seen += 1
        return {"ask": found, "answer": batch["y"], "rows": batch["rows"], "scale": self.scale.exp()}

x, y, seldom = torch.randn(32, D), torch.randn(32, D), torch.zeros(32).bool()
seldom[3] = True
rows = torch.arange(32)[:, None].expand(-1, 2)
fetch = lambda at, rng: {"x": x[at], "y": y[at], "seldom": seldom[at], "rows": rows[at]}
related = lambda a, b: (a[:0], b[:0])
contrast = Contrast(
    lambda network, batch: network(batch),
    lambda made: {"loss": _contrast.softmax(_contrast.scores(
        made["ask"], made["answer"], made["rows"], scale=made["scale"], related=related))},
)
plain = lambda network, batch: {"loss": contrast(network, batch)["loss"]}
every = {"x": x, "y": y, "seldom": seldom, "rows": rows}
validate = lambda network: {"fit": -network(every)["ask"].square().sum().item()}

usual = {"steps": 4, "batch": batch, "rate": 0.05, "decay": 0.3, "device": "cpu", "schedule": "constant", "eps": 1e-3}
found = {"losses": {}, "figures": {}}

def learn(name, loss, place=None, **options):
    model = Net()
    outcome = fit(model, loss, fetch=fetch, count=32, out=out / (place or name), validate=validate,
                  loop=Loop(**{**usual, "shard": shard, "validate_every": 2, "log_every": 4, **options}))
    found[name] = {key: value.tolist() for key, value in model.state_dict().items()}
    found["losses"][name], found["figures"][name] = outcome.losses, [outcome.best, *outcome.figures.values()]
    assert all(type(each) is nn.Parameter for each in model.parameters())

learn("plain", plain)
learn("many", contrast, accumulate=2, clip=0.1, ema=0.6, optimiser="adam", fused=True, scales="blocks.=0.1", patience=9)
if shard:
    model = nn.Sequential(*(nn.Sequential(nn.Sequential(nn.Linear(D, D))) for _ in range(2)))
    outside = lambda network, batch: {"loss": (batch["x"] @ network[0][0][0].weight).sum() + network(batch["x"]).sum()}
    try:
        fit(model, outside, fetch=fetch, count=32, out=out / "outside", loop=Loop(**{**usual, "shard": True}))
    except Exception as error:
        found["outside"] = f"{type(error).__name__}: {error}"
    both = {"ema": 0.6, "clip": 0.1, "accumulate": 2}
    learn("undisturbed", contrast, **both)
    learn("before", contrast, place="resumed", steps=2, **both)
    learn("resumed", contrast, place="resumed", **both)
found["blocks"] = len(blocks(Net()))

print("FOUND" + json.dumps(found))
leave()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    running = start(program, folder / "two", 2)
    with pytest.MonkeyPatch.context() as patch:  # one process is this one
        patch.setattr(sys, "argv", [str(program), str(folder / "one"), "16"])
        one = runpy.run_path(str(program))["found"]
    ended = [each.communicate(timeout=240) for each in running]
    assert [each.returncode for each in running] == [0, 0], "\n".join(err for _, err in ended)
    return [json.loads(json.dumps(one)), *(json.loads(out.partition("FOUND")[2]) for out, _ in ended)], folder


def close(two, one):
    assert two.keys() == one.keys()
    for name, each in one.items():
        torch.testing.assert_close(
            torch.as_tensor(two[name]),
            torch.as_tensor(each),
            rtol=1e-4,
            atol=2e-5,
            msg=lambda said, name=name: f"{name}: {said}",
        )


@pytest.mark.parametrize("name", ["plain", "many"])
def test_divided_weights_learn_what_whole_ones_do(runs, name):
    (one, *two), _ = runs
    for rank in two:
        close(rank[name], one[name])
        assert rank["losses"][name] == pytest.approx(one["losses"][name], rel=1e-4)
        assert rank["figures"][name] == pytest.approx(one["figures"][name], rel=1e-4)
    assert one["blocks"] == 2


def test_weights_that_nothing_uses_stay_as_they_were(runs):
    (one, *two), _ = runs
    idle = [run[name]["idle.weight"] for run in (one, *two) for name in ("plain", "many")]
    assert all(each == idle[0] for each in idle)


def test_a_run_with_divided_weights_resumes_without_a_difference(runs):
    (_, *two), _ = runs
    for rank in two:
        assert rank["resumed"] == rank["undisturbed"] and rank["before"] != rank["resumed"]


def test_a_model_that_uses_the_weights_of_blocks_from_outside_is_refused_in_one_line(runs):
    (_, *two), _ = runs
    assert {rank["outside"] for rank in two} == {
        "BadSpec: loop.shard=true does not go with this model, which uses weights of a block outside of the block's"
        " forward: leave loop.shard out"
    }


def test_blocks_are_the_innermost_composites_of_a_row_that_every_rank_goes_through():
    def layer():
        return nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    stages = nn.Sequential(nn.Sequential(layer(), layer()), nn.Sequential(layer(), nn.Linear(2, 2)))
    model = nn.ModuleDict({"a": nn.Sequential(layer(), layer())})
    whole = nn.Module()
    whole.stages, whole.towers, whole.tied = stages, model, nn.ModuleList([layer(), layer()])
    whole.tied[1][0].weight = whole.stages[1][1].weight
    found = sharding.blocks(whole)
    assert [id(each) for each in found] == [id(stages[0][0]), id(stages[0][1]), id(stages[1][0]), id(whole.tied[0])]


def test_weights_are_not_divided_where_that_cannot_work(tmp_path):
    alone = Loop(steps=1, batch=2, rate=0.1, device="cpu", shard=True)
    with pytest.raises(BadSpec, match=r"among ranks, and there is one: start several, as in torchrun"):
        fit(nn.Linear(2, 1), lambda *_: {}, fetch=lambda *_: None, count=4, out=tmp_path, loop=alone)
    with pytest.raises(BadSpec, match="and there is one"):
        write_recipe(tmp_path, changed(PRESETS["paper"], {"loop.shard": True}))
    for name, value in (("compile", "inductor"), ("precision", "fp16")):
        with pytest.raises(BadSpec, match=f"shard=true does not go with {name}"):
            Loop(batch=2, rate=0.1, shard=True, **{name: value})
    with pytest.raises(BadSpec, match=r"loop.shard=true does not go with losses.adaptive=raw.*set losses.adaptive"):
        changed(FashionBert(), {"loop.shard": True, "loop.steps": 2})
