"""YAMNet: features of about one second of sound, which can be trained further.

Hershey et al. 2017, CNN Architectures for Large-Scale Audio Classification, arXiv:1609.09430 (log-mel patches, AudioSet
classes); Howard et al. 2017, MobileNets, arXiv:1704.04861 (table 1: the network).
Reference: tensorflow/models, research/audioset/yamnet (features.py, yamnet.py, params.py), Apache-2.0.
Weights: any ONNX file of the network whose batch normalisation is folded into its convolutions, such as the one made
from google-coral's int8 network (Apache-2.0).
Deviates: there is no batch normalisation, neither to train nor to freeze: each convolution has its scale in its weight
and its offset in its bias, so train it at a small rate. What is left over after the last whole patch is not heard
(the reference fills it up with silence, the ONNX file does not). The mean over patches is a choice, not the rule.
Shapes: B sounds, N samples at 16 kHz, T frames of 10 ms, M mel bands, P patches of 0.96 s, D features, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders.mmv.mel import triangles
from quiver.encoders.mmv.same import padding
from quiver.errors import BadData, BadSpec, MissingWeights, optional
from quiver.types import Floats

Array = np.ndarray[Any, Any]
Pool = Literal["mean", "max", "both"]

RATE = 16_000  # Hz
BANDS = 64
CLASSES = 521
#: The shortest sound of one patch (samples): 96 frames, the last of which has 15 ms beyond its hop.
SHORTEST = 15_600

_WINDOW, _HOP, _SPECTRUM = 400, 160, 512  # samples: 25 ms, 10 ms, 32 ms
_LOW, _HIGH = 125.0, 7500.0  # Hz
_OFFSET = 1e-3
_PATCH, _STEP = 96, 48  # frames: 0.96 s, 0.48 s
# Patches convolved together: on a CPU more of them do not fit in its cache, which makes both ways a third slower.
_AT_ONCE = {"cpu": 48}

_POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {
    "mean": lambda heard_BPD: heard_BPD.mean(1),
    "max": lambda heard_BPD: heard_BPD.amax(1),
    "both": lambda heard_BPD: torch.cat([heard_BPD.mean(1), heard_BPD.amax(1)], 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The network.

    Attributes:
        channels: output of each of its layers: a convolution, then depthwise-separable ones.
        strides: of each layer, in frames and bands alike.
        classes: outputs of the head; 0 leaves it out.
        pool: what becomes of a sound's patches: their ``mean``, the largest value of each feature (``max``), which
            lets a short event in a long sound count, or ``both``, one after the other.
    """

    channels: tuple[int, ...] = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    strides: tuple[int, ...] = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    classes: int = CLASSES
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides) or min(self.channels, default=0) < 1:
            raise BadSpec(f"YAMNet needs a stride for every layer: {self.channels} and {self.strides}")
        if self.pool not in _POOLS:
            raise BadSpec(f"YAMNet pool={self.pool}: there are {', '.join(_POOLS)}")

    @classmethod
    def tiny(cls) -> "Config":
        """Return one that trains in a second."""
        return cls(channels=(4, 8, 12), strides=(2, 2, 2), classes=5)


class LogMel(nn.Module):
    """Hears as YAMNet does: magnitudes of a periodic Hann window's spectrum, in mel bands, ln(x + 0.001)."""

    window: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        self.register_buffer("mel", torch.from_numpy(_mel()), persistent=False)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, T, M) float32 of (B, N), differentiable, with a gradient of zero in silence.

        Half precision is left to the network: next to the offset it would drown what is quiet.
        """
        with torch.autocast(waveform_BN.device.type, enabled=False):
            frames_BTW = waveform_BN.float().unfold(1, _WINDOW, _HOP) * self.window
            return (torch.fft.rfft(frames_BTW, n=_SPECTRUM).abs() @ self.mel + _OFFSET).log()


class YAMNet(nn.Module):
    """A MobileNet on log-mel patches.

    Attributes:
        config: what it was made of.
        width: of its vectors.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        channels, strides = self.config.channels, self.config.strides
        self.ear = LogMel()
        self.layers = nn.ModuleList([_Same(1, channels[0], 3, stride=strides[0])])
        for before, after, stride in zip(channels, channels[1:], strides[1:], strict=False):
            self.layers.append(_separable(before, after, stride))
        self.head = nn.Linear(channels[-1], self.config.classes) if self.config.classes else None
        self.width = channels[-1] * (2 if self.config.pool == "both" else 1)

    @classmethod
    def from_onnx(cls, file: Path, config: Config | None = None) -> "YAMNet":
        """Read the weights of an ONNX file; nothing in it is run.

        Args:
            file: takes waveforms at 16 kHz and holds convolutions with folded batch normalisation, in order.
            config: of which the layers must be those of the file, and the head too unless it is left out.

        Raises:
            MissingExtra: onnx is not installed.
            MissingWeights: there is no such file.
            BadSpec: it is no ONNX file, or one of another network.
        """
        network = cls(config)
        _fill(network, file)
        return network

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, width) float32, one vector per sound.

        Args:
            waveform_BN: sounds of one length, -1 to 1, 16 kHz; what is shorter than 0.975 s is filled up with silence.

        Raises:
            BadData: it has another shape.
        """
        return _POOLS[self.config.pool](self.patches(waveform_BN))

    def patches(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, P, D) float32: a vector for every 0.96 s, starting every 0.48 s."""
        if waveform_BN.ndim != 2:
            raise BadData(f"YAMNet hears (sounds, samples), not {tuple(waveform_BN.shape)}")
        log_BTM = self.ear(nn.functional.pad(waveform_BN, (0, max(0, SHORTEST - waveform_BN.shape[1]))))
        patch_BPTM = log_BTM.unfold(1, _PATCH, _STEP).transpose(2, 3)
        # One channel, last: convolutions keep the order they are given, and this one is the fastest.
        image_X1TM = patch_BPTM.flatten(0, 1)[..., None].contiguous().permute(0, 3, 1, 2)
        runs = image_X1TM.split(_AT_ONCE.get(image_X1TM.device.type, max(1, len(image_X1TM))))
        return torch.cat([self._body(run) for run in runs]).unflatten(0, patch_BPTM.shape[:2])

    def scores(self, heard_BPD: Tensor) -> Tensor:
        """Return (B, P, K) probabilities of the classes, of what ``patches`` gave.

        Raises:
            BadSpec: it was made without a head.
        """
        if self.head is None:
            raise BadSpec("YAMNet was made with classes=0: it has no scores")
        return torch.sigmoid(self.head(heard_BPD))

    def freeze(self, until: int) -> None:
        """Train only the layers after the first ``until``; all of them freeze the head too.

        Raises:
            BadSpec: there are not that many layers.
        """
        if not 0 <= until <= len(self.layers):
            raise BadSpec(f"YAMNet has {len(self.layers)} layers: it cannot freeze {until}")
        for place, layer in enumerate(self.layers):
            layer.requires_grad_(place >= until)
        if self.head is not None:
            self.head.requires_grad_(until < len(self.layers))

    def _body(self, image_X1TM: Tensor) -> Tensor:
        heard = image_X1TM
        for layer in self.layers:
            heard = layer(heard)
        return heard.float().mean((2, 3))


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads, with its ReLU6: a stride of 2 looks ahead, not back."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def reset_parameters(self) -> None:
        """Start as He et al. 2015 do: nothing else keeps 27 layers without normalisation from falling silent."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, self.bias))

    def forward(self, input: Tensor) -> Tensor:
        """Return (X, after, T', M') of (X, before, T, M)."""
        if self.stride[0] > 1:
            rows, columns = (padding(side, 3, self.stride[0]) for side in input.shape[2:])
            input = nn.functional.pad(input, (*columns, *rows))
        return nn.functional.relu6(super().forward(input), inplace=True)


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Same(before, before, 3, stride=stride, groups=before), _Same(before, after, 1))


def _fill(network: YAMNet, file: Path) -> None:
    """Copy the weights and biases of a file into a network, layer by layer."""
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    stored = _stored(file)
    stored = stored[:-1] if network.head is None else stored
    wanted, given = ([tuple(weight.shape) for weight, _ in those] for those in (_pairs(layers), stored))
    if wanted != given:
        own, due = next(pair for pair in zip_longest(given, wanted, fillvalue="nothing") if pair[0] != pair[1])
        raise BadSpec(f"YAMNet {file} has a layer of {own} where the network has {due}: it is another network")
    with torch.no_grad():
        for (weight, bias), (own_weight, own_bias) in zip(_pairs(layers), stored, strict=True):
            weight.copy_(torch.tensor(own_weight))
            bias.copy_(torch.tensor(own_bias))


def _pairs(layers: list[nn.Conv2d | nn.Linear]) -> list[tuple[Tensor, Tensor]]:
    return [(layer.weight, cast(Tensor, layer.bias)) for layer in layers]


def _stored(file: Path) -> list[tuple[Array, Array]]:
    """Return weight and bias of each layer of a file in the order of its graph."""
    graph = _graph(file)
    from onnx import numpy_helper

    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    mel = _mel()
    if not any(array.shape == mel.shape and np.allclose(array, mel, atol=1e-5) for array in arrays.values()):
        raise BadSpec(f"YAMNet {file} has other mel bands than YAMNet: it is another network")
    nodes = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
    for node in nodes:
        if len(node.input) != 3 or not arrays.keys() >= set(node.input[1:]):
            raise BadSpec(f"YAMNet {file}: {node.output[0]} has no weight or bias: fold batch normalisation into it")
    return [(arrays[node.input[1]], arrays[node.input[2]]) for node in nodes]


def _graph(file: Path) -> Any:
    with optional():
        import onnx
    if not file.is_file():
        raise MissingWeights(f"YAMNet {file}: there is no such file")
    try:
        return onnx.load(file).graph
    except Exception as error:  # the errors of protobuf and of onnx have no common class of their own
        raise BadSpec(f"YAMNet {file} is no ONNX file: {str(error).strip()}") from error


def _mel() -> Floats:
    """Return the weight of each frequency in each band, (257, M) float32."""
    return triangles(rate=RATE, window=_SPECTRUM, bands=BANDS, low=_LOW, high=_HIGH)
