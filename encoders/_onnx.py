"""ONNX files: sessions on the chosen device, and inputs by name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _device
from quiver.encoders._tower import chunks
from quiver.errors import BadMedia, BadSpec, MissingWeights, optional
from quiver.types import Floats

Layout = Literal["nchw", "nhwc"]
Pool = Literal["auto", "mean", "max", "first", "last"]
#: Providers of ONNX Runtime by kind of device, the first that the installed build has is taken.
PROVIDERS = {"cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider"), "cpu": ("CPUExecutionProvider",)}
#: Inputs of equal shape that go through a model together.
AT_ONCE = 16
TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
#: An input whose value is the number of samples of each sound.
LENGTH = "length"
#: What one item is fed with, by the name of the input.
Fed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An open file.

    Attributes:
        session: of ONNX Runtime.
        name: the file's, for messages.
        output: the output that holds the vector.
        layout: of images and feature maps.
        batch: ``none`` where there is no batch axis, ``one`` where its length is 1, ``any`` where it is free.
        length: of the last axis of the main input where it is fixed, or None.
        dtype: of the main input.
        main: the name of the main input.
        pool: what joins several vectors of one input.
        also: values of further inputs by name: a number, or ``length``.
    """

    session: Any
    name: str
    output: str
    layout: Layout
    batch: Literal["none", "one", "any"]
    length: int | None
    dtype: type[np.generic]
    main: str
    pool: Pool = "mean"
    also: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, inputs: Sequence[NDArray[Any] | Fed]) -> Floats:
        """Return (n, dim) float32 of n inputs, of one shape or of many; no row depends on the others.

        Args:
            inputs: the main input of each item, or all of its inputs by name.
        """
        fed = [each if isinstance(each, Mapping) else {self.main: each} for each in inputs]
        rows: dict[int, Floats] = {}
        shapes = [each[self.main].shape for each in fed]
        for shape in sorted(set(shapes)):
            places = [place for place, own in enumerate(shapes) if own == shape]
            for chunk in chunks(places, AT_ONCE if self.batch == "any" else 1):
                rows.update(zip(chunk, self._vectors([fed[place] for place in chunk]), strict=True))
        return np.stack([rows[place] for place in range(len(inputs))])

    def _vectors(self, inputs: Sequence[Fed]) -> list[Floats]:
        given = self._run(inputs)
        if self.batch == "none" or (self.batch == "one" and given.shape[:1] != (1,)):
            given = given[None]
        if len(given) != len(inputs):
            raise BadSpec(f"{self.name}: output {self.output} is {given.shape} for {len(inputs)} inputs")
        return [self._pool(each, one) for each, one in zip(given, inputs, strict=True)]

    def _run(self, inputs: Sequence[Fed]) -> NDArray[Any]:
        fed = {}
        for each in self.session.get_inputs():
            if each.name in inputs[0]:
                columns = [one[each.name] for one in inputs]
                value = columns[0] if self.batch == "none" else np.stack(columns)
            else:
                value = self._constant(each, inputs)
            fed[each.name] = value.astype(TYPES[each.type], copy=False)
        try:
            given = self.session.run([self.output], fed)[0]
        except Exception as error:  # the errors of ONNX Runtime have no common class of their own
            shape = fed[self.main].shape
            raise BadMedia(f"{self.name} does not take an input of {shape}: {brief(error)}") from error
        return np.asarray(given)

    def _constant(self, given: Any, inputs: Sequence[Fed]) -> NDArray[Any]:
        """Return the value of a further input, of its own shape: free axes are those of the main input."""
        main, said = inputs[0][self.main], self.also[given.name]
        if said == LENGTH:
            found = np.array([one[self.main].shape[-1] for one in inputs])
            return found.reshape([len(inputs)] + [1] * (len(given.shape) - 1)) if given.shape else found[0]
        named = dict(zip(self._shape(), ((len(inputs),) if self.batch != "none" else ()) + main.shape, strict=True))
        free = [main.shape[-1], len(inputs)]
        shape = [
            side if isinstance(side, int) else named.get(side, free[place == 0])
            for place, side in enumerate(given.shape)
        ]
        return np.full(shape, float(said))

    def _shape(self) -> list[Any]:
        return list(next(each.shape for each in self.session.get_inputs() if each.name == self.main))

    def _pool(self, given: NDArray[Any], fed: Fed) -> Floats:
        """Join what is not the axis of features: () is refused, (patches, dim) or a feature map is not."""
        if given.ndim not in {1, 2, 3} or not np.issubdtype(given.dtype, np.floating):
            raise BadSpec(f"{self.name}: output {self.output} is {given.dtype} {given.shape}, not vectors")
        if not given.size:
            raise BadMedia(f"{self.name} has no vector for so short an input: set min_samples")
        given = given.astype(np.float32, copy=False)
        if given.ndim == 1:
            return given
        if self.pool == "auto":
            raise BadSpec(
                f"{self.name}: output {self.output} has a vector for each token, and no 1_Pooling/config.json says "
                "what becomes of them: give pool=mean, first, last or max, as the model's page says"
            )
        if given.ndim == 2 and (mask := fed.get("attention_mask")) is not None and len(mask) == len(given):
            given = given[mask.astype(bool)]
        if self.pool in ("first", "last"):
            if given.ndim != 2:
                raise BadSpec(f"{self.name}: pool={self.pool} is for tokens, and {self.output} is a feature map")
            return given[0 if self.pool == "first" else -1]
        axes = {2: (0,), 3: (1, 2) if self.layout == "nchw" else (0, 1)}[given.ndim]
        return given.max(axis=axes) if self.pool == "max" else given.mean(axis=axes, dtype=np.float32)


def chosen(device: str, providers: str, *, available: Sequence[str]) -> list[str]:
    """Return the providers that a session is asked for, in their order of preference.

    Args:
        device: ``auto`` (a GPU where this build of ONNX Runtime has a provider for one), ``cpu``, ``cuda``, ``cuda:N``.
        providers: names of ONNX Runtime, joined by commas, in place of that; empty for none.
        available: what this build has.

    Raises:
        BadSpec: one of them is not available.

    >>> chosen("auto", "", available=["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"])
    ['CUDAExecutionProvider', 'CPUExecutionProvider']
    >>> chosen("auto", "", available=["AzureExecutionProvider", "CPUExecutionProvider"])
    ['CPUExecutionProvider']
    """
    if providers:
        named = [name.strip() for name in providers.split(",") if name.strip()]
        if absent := [name for name in named if name not in available]:
            raise BadSpec(f"onnx providers={providers}: this ONNX Runtime has {', '.join(available)}, not {absent[0]}")
        return named
    kind, _, number = device.partition(":")
    if kind not in ("auto", *PROVIDERS) or (number and (kind != "cuda" or not number.isdecimal())):
        raise BadSpec(f"device must be auto, cpu, cuda or cuda:N, not {device!r}")
    gpu = next((name for name in PROVIDERS["cuda"] if name in available), None)
    if kind == "cuda" and gpu is None:
        raise BadSpec(
            f"onnx device={device}: this ONNX Runtime has {', '.join(available)}; install onnxruntime-gpu, or use "
            "device=cpu"
        )
    return [gpu, *PROVIDERS["cpu"]] if gpu is not None and kind != "cpu" else [*PROVIDERS["cpu"]]


def session(file: Path, *, device: str, providers: str) -> Any:
    """Open a file.

    Raises:
        MissingWeights: there is no such file.
        BadSpec: it is no ONNX model, or the device or a provider is not there.
    """
    with optional():
        import onnxruntime
    if not file.is_file():
        raise MissingWeights(f"onnx file={file}: there is no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, in one line
    # Threads that wait for work otherwise burn the time of decoders and of other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = chosen(device, providers, available=onnxruntime.get_available_providers())
    asked = [(name, {"device_id": number(device)} if name in PROVIDERS["cuda"] else {}) for name in names]
    try:
        opened = onnxruntime.InferenceSession(file, options, providers=asked)
    except Exception as error:  # the errors of ONNX Runtime have no common class of their own
        raise BadSpec(f"onnx file={file} is no ONNX model that can run here: {brief(error)}") from error
    # ONNX Runtime takes the CPU in silence where a GPU's libraries are missing.
    if (providers or device.startswith("cuda")) and names[0] not in opened.get_providers():
        raise BadSpec(f"onnx: {names[0]} cannot start here, so the model would run on the CPU: check its libraries")
    return opened


def number(device: str) -> int:
    """Return the number of the GPU that a device names: under torchrun that of this rank."""
    if ":" not in device and os.environ.get("LOCAL_RANK", "").isdecimal():
        import torch

        device = _device.local("cuda", gpus=torch.cuda.device_count())
    return int(device.partition(":")[2] or 0)


def brief(error: BaseException) -> str:
    """Return the first line of an error of ONNX Runtime, without its number."""
    return str(error).strip().splitlines()[0].rpartition(" : ")[2]
