"""Ranks as forked processes, which need not import everything anew."""

import json
import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from quiver.encoders._train import leave

RANKS = 2


def together(work: Callable[[int], Any], folder: Path) -> tuple[Any, list[Any]]:
    """Do something in this process, and at the same time on each of two ranks (gloo).

    Args:
        work: given the number of ranks; returns what can be written as JSON.
        folder: for what the ranks return.

    Returns:
        What it returned here, and what it returned on each rank.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(RANKS)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        torch.set_num_threads(1)
        (folder / f"rank{rank}.json").write_text(json.dumps(work(RANKS)))
        leave()

    context = multiprocessing.get_context("fork")
    running = [context.Process(target=run, args=(rank,)) for rank in range(RANKS)]
    with warnings.catch_warnings():  # another test of this process may have loaded Lance; ranks never use it
        warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)
        for each in running:
            each.start()
    here = json.loads(json.dumps(work(1)))
    for each in running:
        each.join(timeout=240)
    assert [each.exitcode for each in running] == [0] * RANKS
    return here, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]
