"""Two processes learn what one learns with the batch of both: stage one, and captions by both generators."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.encoders.clip4idc.pairs import write

#: What every rank runs: both stages of one model, then the captions of DUDA, on pairs with one sentence each.
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from PIL import Image
from tests.encoders.clip4idc.pairs import small, write
from quiver.encoders._train import leave
from quiver.encoders.clip4idc.train import train
from quiver.types import Item, Query
from quiver.task import Question

torch.set_num_threads(1)
out, batch = Path(sys.argv[1]), int(sys.argv[2])
Image.Image.save = lambda *_, **__: None  # the pictures are there; written anew, they would be others to the cache
task = write(out.parent / "squares")
items, questions = list(task.items[:12]), list(task.questions[:24:2])
for number, item in enumerate(task.items[:12]):  # unchanged pairs, whose sentences are longer
    media = {"before": item.media["before"], "after": item.meta["distractor"]}
    items.append(Item(f"same{number}", media, {"change": "none"}))
    text = f"nothing has turned from one colour to another in {item.id.replace('-', ' ')}"
    questions.append(Question(f"same{number}", Query({"text": text}, target="pair"), {f"same{number}": 1}))
task = replace(task, items=items, questions=questions)
settings = {"loop.steps": 3, "loop.batch": batch, "loop.eps": 1e-2, "loop.validations": 0, "data.distractors": 0.0}
settings |= {"caption.steps": 3, "caption.batch": batch, "model.text.length": 24, "caption.length": 24}
for generator in ("clip4idc", "duda"):
    recipe = small(**settings, **{"caption.generator": generator})
    train(task, None, out / generator, recipe=recipe)
leave()
"""


def start(program, out, ranks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    common["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    return [
        subprocess.Popen(
            [sys.executable, str(program), str(out), str(16 // ranks)],
            env={**os.environ, **common, **({"RANK": str(n), "LOCAL_RANK": str(n)} if ranks > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(ranks)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    write(folder / "squares")
    running = [*start(program, folder / "one", 1), *start(program, folder / "two", 2)]
    ended = [each.communicate(timeout=240) for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], "\n".join(err for _, err in ended)
    return folder


@pytest.mark.parametrize("model", ["clip4idc/model", "clip4idc/model/caption", "duda/model/caption"])
def test_two_ranks_learn_what_one_learns_with_the_joined_batch(folders, model):
    one, two = (load_file(folders / name / model / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-5)
