"""TensorFlow's SAME padding in PyTorch, and convolutions over clips that are two-dimensional underneath.

A separable convolution of a clip is one over the pixels of every frame and one over the times of every pixel. Both are
two-dimensional if the clip lies channels last, where merging B with T or H with W costs nothing; on a CPU that takes
60 to 75 % of the time of the three-dimensional ones. So a clip is a contiguous BTHWC tensor everywhere.

SAME makes ceil(size / stride) outputs and puts the odd pixel of padding behind, so that at stride 2 it depends on the
size of the input; PyTorch's own symmetric padding shifts what released weights look at.

Shapes: B clips, T frames, H rows, W columns, C channels.
"""

from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool3d, pad


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how much SAME pads one axis before and behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Conv(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Start as Haiku does."""
        begin(self.weight)


class FrameConv(_Conv):
    """A convolution over frames, without bias, that may see several frames at once.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: rows and columns.
        stride: of rows, columns and, where ``taps`` > 1, of frames.
        taps: frames seen at once. Its weight is (outputs, taps * inputs, kernel, kernel), earliest frame first.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, taps: int = 1) -> None:
        super().__init__(taps * inputs, outputs, kernel, stride=stride, bias=False)
        self.taps = taps

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Convolve (B, T, H, W, inputs) into (B, T', H', W', outputs)."""
        x = self._stacked(x_BTHWC)
        y_NCHW = _conv(x.flatten(0, 1).permute(0, 3, 1, 2), self.weight, self.stride)
        return y_NCHW.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])

    def _stacked(self, x_BTHWC: Tensor) -> Tensor:
        """Put the frames that are seen at once behind each other in the channels."""
        if self.taps == 1:
            return x_BTHWC
        ends = padding(x_BTHWC.shape[1], self.taps, self.stride[0])
        windows = pad(x_BTHWC, (0, 0, 0, 0, 0, 0, *ends)).unfold(1, self.taps, self.stride[0])
        return windows.transpose(-1, -2).flatten(4)

    def deflate(self) -> None:
        """Sum over the frames seen at once, as is right where all frames are the same."""
        self.weight = nn.Parameter(self.weight.detach().unflatten(1, (self.taps, -1)).sum(1), self.weight.requires_grad)
        self.in_channels, self.taps = self.weight.shape[1], 1


class TimeConv(_Conv):
    """A convolution over time, pixel by pixel, without bias.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: frames.
        stride: of frames.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, (kernel, 1), stride=(stride, 1), bias=False)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Convolve (B, T, H, W, inputs) into (B, T', H, W, outputs)."""
        y_BCTP = _conv(x_BTHWC.flatten(2, 3).permute(0, 3, 1, 2), self.weight, self.stride)
        return y_BCTP.permute(0, 2, 3, 1).unflatten(2, x_BTHWC.shape[2:4])

    def deflate(self) -> None:
        """Sum over time, as is right where all frames are the same."""
        self.weight = nn.Parameter(self.weight.detach().sum(2, keepdim=True), self.weight.requires_grad)
        self.kernel_size = (1, 1)


class MaxPool(nn.Module):
    """The largest value of each channel among neighbours in time, rows and columns; what SAME pads never wins.

    Args:
        kernel: frames, rows, columns.
        stride: likewise.
    """

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Pool (B, T, H, W, C) into (B, T', H', W', C)."""
        sizes = x_BTHWC.shape[1:4]
        before = [padding(*axis)[0] for axis in zip(sizes, self.kernel, self.stride, strict=True)]
        # ceil_mode adds the one window that the padding behind makes room for.
        y = max_pool3d(x_BTHWC.permute(0, 4, 1, 2, 3), self.kernel, self.stride, before, ceil_mode=True)
        return y.permute(0, 2, 3, 4, 1)


def begin(weight: Tensor) -> None:
    """Fill a weight from a normal distribution of deviation 1 / sqrt(inputs), cut off at two of them."""
    deviation = weight[0].numel() ** -0.5
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise the last axis over all others, then ReLU; the layer may have become a SyncBatchNorm."""
    return norm(x.flatten(0, -2)).relu_().view(x.shape)


def _conv(x_NCHW: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    rows, columns = (padding(*axis) for axis in zip(x_NCHW.shape[2:], weight.shape[2:], stride, strict=True))
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return conv2d(x_NCHW, weight, None, stride, (rows[0], columns[0]))
    return conv2d(pad(x_NCHW, (*columns, *rows)), weight, None, stride)
