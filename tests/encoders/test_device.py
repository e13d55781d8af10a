import pytest
import torch

from quiver.encoders import _device
from quiver.errors import BadSpec


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert _device.pick("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert _device.pick("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:one", "", "CUDA"])
def test_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(BadSpec, match="device must be"):
        _device.pick(name)


def test_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(BadSpec, match="CUDA devices"):
        _device.pick(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize(
    ("name", "gpus", "rank", "own"),
    [
        ("auto", 8, "0", "cuda:0"),
        ("auto", 8, "3", "cuda:3"),
        ("cuda", 8, "3", "cuda:3"),
        ("cuda:5", 8, "3", "cuda:5"),  # named by the user
        ("auto", 1, "3", "cuda:0"),  # a launcher that shows each rank its own GPU alone
        ("auto", 8, "", "cuda"),  # no ranks
        ("auto", 0, "3", "cpu"),
        ("cuda", 0, "3", "cuda"),  # which is then refused
        ("cpu", 8, "3", "cpu"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own(name: str, gpus: int, rank: str, own: str) -> None:
    assert _device.local(name, gpus=gpus, rank=rank) == own


def test_the_rank_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert _device.local("auto", gpus=4) == "cuda:2"
    monkeypatch.delenv("LOCAL_RANK")
    assert _device.local("auto", gpus=4) == "cuda"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_gpu_of_a_rank_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _device.pick("auto") == torch.device("cuda:1") and torch.cuda.current_device() == 1
