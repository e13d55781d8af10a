"""Training on several ranks: what is right on another rank does not compete either."""

import json
import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
from dataclasses import replace
import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from quiver.encoders._train.rank import share
from quiver.encoders.artemis import data, triplet
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.model import Model
from quiver.task import Question, Task
from quiver.types import Item, Query

rank, ranks = share()
if ranks > 1:
    dist.init_process_group("gloo")
shelf = [Item(str(n), {"image": f"{n}.jpg"}) for n in range(10)]
questions = [
    Question(id=str(n), query=Query(media={"image": "9.jpg", "text": "in red"}, target="image"),
             relevant={str(right): 1 for right in ((n, (n + 4) % 8) if n % 2 else (n,))}, exclude=("9",))
    for n in range(8)
]
of = triplet.gather(Task("shelf", "0", shelf, questions, ("Success@10",), "image", "all compete", "made"))
features = np.random.default_rng(0).normal(size=(len(of.pictures), 12)).astype(np.float32)
torch.manual_seed(0)
model = Model(Config.tiny("visual_search")).train()
found = {}
for known in (True, False):
    lessons = data.Lessons(of, data.Table.plain(features), data.Silence(), known=known)
    rows = np.arange(8).reshape(ranks, -1)[rank]
    batch = lessons.fetch(rows, np.random.default_rng(0))
    places = of.answer[of.start[rows]]  # the first answer of each, so that ranks and one process draw the same
    batch["target"] = lessons.look(places)
    if known:
        batch["same"], batch["places"] = torch.from_numpy(of.same(rows, places)), torch.from_numpy(places)
    value = lessons.loss(model, batch)["loss"].detach() / ranks
    if ranks > 1:
        dist.all_reduce(value)
    found[str(known)] = value.item()
torch.manual_seed(0)
model = Model(replace(Config.tiny("visual_search"), objective="triplet", triplets=10**6, spread=0.0)).train()
value = lessons.loss(model, batch)["loss"] / ranks
value.backward()
gradient = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
value = value.detach()
if ranks > 1:
    dist.all_reduce(value), dist.all_reduce(gradient)
found["triplet"], found["gradient"] = value.item(), gradient.tolist()
if rank == 0:
    print("FOUND" + json.dumps(found))
if ranks > 1:
    dist.destroy_process_group()
"""


def start(program, ranks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    return [
        subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def test_right_answers_of_other_ranks_are_no_negatives(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    running = [*start(program, 1), *start(program, 2)]
    ended = [each.communicate(timeout=120) for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], "\n".join(err for _, err in ended)
    one, two = (json.loads(ended[n][0].partition("FOUND")[2]) for n in (0, 1))
    assert two.pop("gradient") == pytest.approx(one.pop("gradient"), rel=1e-4, abs=1e-6)
    assert two == pytest.approx(one, rel=1e-6) and one["triplet"] > 0
    assert abs(one["True"] - one["False"]) > 1e-3
