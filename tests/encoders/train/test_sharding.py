"""Weights divided among two ranks (``loop.shard``) are trained as whole ones are in one process."""

import pytest
import torch
from tests.encoders.train.forked import together
from torch import nn

from quiver.encoders import _contrast
from quiver.encoders._settings import changed
from quiver.encoders._train import Contrast, Loop, fit, sharding, write_recipe
from quiver.encoders.fashionbert.recipe import Recipe as FashionBert
from quiver.encoders.two_tower.train import PRESETS
from quiver.errors import BadSpec

D = 6
BATCH = 8
USUAL = {"steps": 4, "rate": 0.05, "decay": 0.3, "device": "cpu", "schedule": "constant", "eps": 1e-3}
MANY = {"accumulate": 2, "clip": 0.1, "ema": 0.6, "optimiser": "adam", "fused": True, "scales": "blocks.=0.1"}


def layer():
    return nn.Sequential(nn.Linear(D, 7), nn.GELU(), nn.Sequential(nn.Linear(7, D), nn.LayerNorm(D)))


class Net(nn.Module):
    """Blocks, two towers of which few rows use the second, a part that nothing uses, a scalar and a buffer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
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


def data():
    made = torch.Generator().manual_seed(1)
    x, y = torch.randn(32, D, generator=made), torch.randn(32, D, generator=made)
    return {"x": x, "y": y, "seldom": torch.arange(32) == 3, "rows": torch.arange(32)[:, None].expand(-1, 2)}


def compare(made):
    none = torch.empty(0, dtype=torch.int64).numpy()
    scores = _contrast.scores(
        made["ask"], made["answer"], made["rows"], scale=made["scale"], related=lambda *_: (none, none)
    )
    return {"loss": _contrast.softmax(scores)}


def learn(ranks, out, loss=None, model=None, **options):
    """Train a new Net, or another model; return its state, the losses and the figures."""
    rows, model = data(), Net() if model is None else model
    contrast = Contrast(lambda network, batch: network(batch), compare)
    loop = Loop(
        **{**USUAL, "batch": BATCH // ranks, "shard": ranks > 1, "validate_every": 2, "log_every": 4, **options}
    )
    outcome = fit(
        model,
        loss or contrast,
        fetch=lambda at, rng: {name: each[at] for name, each in rows.items()},
        count=32,
        out=out,
        loop=loop,
        validate=lambda network: {"fit": -network(rows)["ask"].square().sum().item()},
    )
    assert all(type(each) is nn.Parameter for each in model.parameters())
    state = {name: each.tolist() for name, each in model.state_dict().items()}
    return {"state": state, "losses": outcome.losses, "figures": [outcome.best, *outcome.figures.values()]}


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


@pytest.mark.parametrize("options", [{}, MANY], ids=["plain", "many"])
def test_divided_weights_learn_what_whole_ones_do(tmp_path, options):
    def plain(network, batch):
        return compare(network(batch))

    loss = None if options else plain
    one, two = together(lambda ranks: learn(ranks, tmp_path / str(ranks), loss, **options), tmp_path)
    for rank in two:
        close(rank["state"], one["state"])
        assert rank["losses"] == pytest.approx(one["losses"], rel=1e-4)
        assert rank["figures"] == pytest.approx(one["figures"], rel=1e-4)
    assert one["state"]["idle.weight"] == Net().idle.weight.tolist() == two[0]["state"]["idle.weight"]
    assert len(sharding.blocks(Net())) == 2


def test_a_run_with_divided_weights_resumes_without_a_difference_and_alone(tmp_path):
    both = {"ema": 0.6, "clip": 0.1, "accumulate": 2, "validate_every": 0}

    def outside(network, batch):
        return {"loss": (batch["x"] @ network[0][0][0].weight).sum() + network(batch["x"]).sum()}

    def work(ranks):
        if ranks == 1:
            return learn(ranks, tmp_path / "one", **both)
        found = {"whole": learn(ranks, tmp_path / "whole", **both)}
        found["half"] = learn(ranks, tmp_path / "parts", **both, steps=2)
        found["resumed"] = learn(ranks, tmp_path / "parts", **both)
        learn(ranks, tmp_path / "alone", **both, steps=2)
        learn(ranks, tmp_path / "plain", **both, steps=2, shard=False)
        rows = nn.Sequential(*(nn.Sequential(nn.Sequential(nn.Linear(D, D))) for _ in range(2)))
        with pytest.raises(
            BadSpec, match=r"uses weights of a block outside of the block's forward: leave loop.shard out"
        ):
            learn(ranks, tmp_path / "outside", outside, rows)
        return found

    one, two = together(work, tmp_path)
    for rank in two:
        for part in ("state", "figures"):
            assert rank["resumed"][part] == rank["whole"][part] != rank["half"][part]
    with pytest.raises(BadSpec, match=r"is of a run with batch=4, not 16"):
        learn(1, tmp_path / "plain", **both, batch=16)
    for name in ("alone", "plain"):  # go on in one process, with the joined batch
        close(learn(1, tmp_path / name, **both)["state"], one["state"])


def test_blocks_are_the_innermost_composites_of_a_row_that_every_rank_goes_through():
    def pair():
        return nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    whole = nn.Module()
    whole.stages = nn.Sequential(nn.Sequential(pair(), pair()), nn.Sequential(pair(), nn.Linear(2, 2)))
    whole.towers = nn.ModuleDict({"a": nn.Sequential(pair(), pair())})
    whole.tied = nn.ModuleList([pair(), pair()])
    whole.tied[1][0].weight = whole.stages[1][1].weight
    whole.decoders = nn.ModuleList([nn.TransformerDecoderLayer(2, 1, 2)])
    found = [id(each) for each in sharding.blocks(whole)]
    assert found == [id(whole.stages[0][0]), id(whole.stages[0][1]), id(whole.stages[1][0]), id(whole.tied[0])]


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
