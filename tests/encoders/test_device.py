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
