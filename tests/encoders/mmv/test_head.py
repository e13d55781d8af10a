import math

import pytest
import torch
from torch.nn.functional import normalize

from quiver.encoders.mmv.head import CoarseHead, VideoHead


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("features", "published"), [(1024, 788_992), (2048, 1_313_280), (4096, 2_361_856)])
def test_video_head_has_the_published_number_of_parameters(features: int, published: int) -> None:
    assert count(VideoHead(features, 512, 512)) == published


def test_coarse_head_has_the_published_number_of_parameters() -> None:
    assert count(CoarseHead(512, 256, unit=False)) == 131_840


def test_video_head_by_hand() -> None:
    head = VideoHead(2, 2, 1).eval()
    with torch.no_grad():
        head.inner.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        head.inner.bias.copy_(torch.tensor([1.0, 0.0]))
        head.inner_norm.running_mean = torch.tensor([2.0, 0.0])  # (3 + 1 - 2) = 2 and -4, which ReLU takes away
        head.outer.weight.copy_(torch.tensor([[3.0, 100.0]]))
        head.outer_norm.weight.fill_(0.5)
        head.outer_norm.bias.fill_(10.0)
        made = head(torch.tensor([[3.0, -4.0]]))
    assert made.item() == pytest.approx(10 + 0.5 * 3 * 2, rel=1e-4)  # the norms divide by sqrt(1 + 1e-5)


def test_coarse_head_by_hand() -> None:
    paper, ours = (CoarseHead(2, 1, unit=unit).eval() for unit in (False, True))
    for head in (paper, ours):
        head.linear.weight.data = torch.tensor([[1.0, 7.0]])
        head.linear.bias.data = torch.tensor([1.0])
    with torch.no_grad():
        fine = torch.tensor([[3.0, -4.0]])
        assert paper(fine).item() == pytest.approx(3 + 1, rel=1e-4)
        assert ours(fine).item() == pytest.approx(math.sqrt(2) * 3 / 5 + 1, rel=1e-4)


def test_length_counts_in_the_paper_s_coarse_head_and_not_in_ours() -> None:
    torch.manual_seed(0)
    fine = torch.randn(4, 8)
    with torch.no_grad():
        for unit in (False, True):
            head = CoarseHead(8, 5, unit=unit).eval()
            same = torch.allclose(head(fine), head(normalize(fine)), atol=1e-5)
            assert same is unit


def test_running_variance_is_pytorch_s_unbiased_one() -> None:
    torch.manual_seed(0)
    head = VideoHead(3, 4, 2).train()
    features = torch.randn(5, 3)
    head(features)
    inner = head.inner(features)
    torch.testing.assert_close(head.inner_norm.running_mean, 0.1 * inner.mean(0).detach())
    torch.testing.assert_close(head.inner_norm.running_var, 0.9 + 0.1 * inner.var(0).detach())
