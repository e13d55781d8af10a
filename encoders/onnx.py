"""Any ONNX file with one input: sounds, or pictures and videos.

``onnx file=yamnet.onnx input=waveform min_samples=15600`` or ``onnx file=net.onnx input=image size=224``.

Runs in ONNX Runtime (github.com/microsoft/onnxruntime, MIT) on the CPU. An output of more than one vector, such as
the patches of a sound or the places of a feature map, is averaged, or its maximum taken; a video is the mean of its
frames' unit vectors. Whether inputs go through one by one or together is read from the file: together needs a batch
axis of any length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _fingerprint, _pixel
from quiver.encoders._tower import Tower, Towers, averaged, chunks
from quiver.errors import BadMedia, BadSpec, MissingWeights, optional
from quiver.media import AudioReader, ImageReader, VideoReader
from quiver.protocols import Encoder
from quiver.types import Floats, Space

Kind = Literal["waveform", "image"]
Layout = Literal["nchw", "nhwc"]
Pool = Literal["mean", "max"]
#: Inputs of equal shape that go through a model together.
AT_ONCE = 16

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_RANK = {"waveform": 1, "image": 3}  # without a batch axis


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    file: Path,
    input: Kind,
    output: str | None = None,
    pool: Pool = "mean",
    rate: int = 16_000,
    seconds: float | None = None,
    min_samples: int = 1,
    size: int = 224,
    layout: Layout = "nchw",
    mean: str = "0.485,0.456,0.406",
    std: str = "0.229,0.224,0.225",
    frames: int = 8,
) -> Encoder:
    """Load a file.

    Args:
        file: the model.
        input: what it takes: ``waveform`` (samples,) from -1 to 1, or ``image`` (height, width, colour).
        output: the name of the output that holds the vector; the first one if not said.
        pool: what becomes of several vectors of one input: their ``mean``, or the largest value of each feature
            (``max``), which lets a short event in a long sound count.
        rate: samples per second of a waveform (Hz).
        seconds: at most this much of a sound, from its beginning; all of it if not said.
        min_samples: shorter waveforms are filled up with silence at the end.
        size: side of the square an image is cropped to, in pixels.
        layout: whether colours come before height and width (``nchw``) or after (``nhwc``).
        mean: of pixel values from 0 to 1: one number or three. A model of uint8 takes pixels as they are.
        std: likewise; ``mean=0.5 std=0.5`` scales to -1 to 1, ``mean=0 std=0.00392157`` to 0 to 255.
        frames: taken from a video, evenly spread.

    Raises:
        MissingWeights: there is no such file.
        BadSpec: it is no ONNX model, or its input or output is not what was said.
    """
    model = replace(_model(file, input, output, layout), pool=pool)
    if input == "waveform":
        ear, sound = Ear(model, min_samples), AudioReader(rate, seconds=seconds)
        towers = {"audio": Tower(sound, ear)}
        recipe = f"{sound} {min_samples} samples"
        trial: NDArray[Any] = np.zeros(model.length or max(min_samples, rate), np.float32)
    else:
        scale = _pixel.scale(mean, std)
        eye, picture = Eye(model, *scale), ImageReader(size)
        video = Tower(VideoReader(frames=frames, image=picture), averaged(eye, at_once=64))
        towers = {"image": Tower(picture, eye), "video": video}
        recipe = f"{picture} {scale} {frames} frames"
        trial = np.zeros((size, size, 3), np.uint8)
    dim = _width(next(iter(towers.values())), trial)
    revision = _fingerprint.of_file(file, "onnx 1", input, model.output, pool, layout, recipe, *_beside(file))
    return Towers(Space(f"onnx/{file.stem}", dim, "cosine", revision), towers)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An open file.

    Attributes:
        session: of ONNX Runtime.
        name: the file's, for messages.
        output: the output that holds the vector.
        layout: of images and feature maps.
        batch: ``none`` where there is no batch axis, ``one`` where its length is 1, ``any`` where it is free.
        length: of its last axis where it is fixed, or None.
        dtype: of its input.
        pool: what joins several vectors of one input.
    """

    session: Any
    name: str
    output: str
    layout: Layout
    batch: Literal["none", "one", "any"]
    length: int | None
    dtype: type[np.generic]
    pool: Pool = "mean"

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> Floats:
        """Return (n, dim) float32 of n inputs, of one shape or of many; no row depends on the others."""
        rows: dict[int, Floats] = {}
        shapes = [each.shape for each in inputs]
        for shape in sorted(set(shapes)):
            places = [place for place, own in enumerate(shapes) if own == shape]
            for chunk in chunks(places, AT_ONCE if self.batch == "any" else 1):
                rows.update(zip(chunk, self._vectors([inputs[place] for place in chunk]), strict=True))
        return np.stack([rows[place] for place in range(len(inputs))])

    def _vectors(self, inputs: Sequence[NDArray[Any]]) -> list[Floats]:
        fed = inputs[0] if self.batch == "none" else np.stack(inputs)
        given = self._run(fed.astype(self.dtype, copy=False))
        if self.batch == "none" or (self.batch == "one" and given.shape[:1] != (1,)):
            given = given[None]
        if len(given) != len(inputs):
            raise BadSpec(f"{self.name}: output {self.output} is {given.shape} for {len(inputs)} inputs")
        return [self._pool(each) for each in given]

    def _run(self, fed: NDArray[Any]) -> NDArray[Any]:
        name = self.session.get_inputs()[0].name
        try:
            given = self.session.run([self.output], {name: fed})[0]
        except Exception as error:  # the errors of ONNX Runtime have no common class of their own
            raise BadMedia(f"{self.name} does not take an input of {fed.shape}: {_brief(error)}") from error
        return np.asarray(given)

    def _pool(self, given: NDArray[Any]) -> Floats:
        """Join what is not the axis of features: () is refused, (patches, dim) or a feature map is not."""
        if given.ndim not in {1, 2, 3} or not np.issubdtype(given.dtype, np.floating):
            raise BadSpec(f"{self.name}: output {self.output} is {given.dtype} {given.shape}, not vectors")
        if not given.size:
            raise BadMedia(f"{self.name} has no vector for so short an input: set min_samples")
        axes = {1: (), 2: (0,), 3: (1, 2) if self.layout == "nchw" else (0, 1)}[given.ndim]
        given = given.astype(np.float32, copy=False)
        return given.max(axis=axes) if self.pool == "max" else given.mean(axis=axes, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Ear:
    """A model of waveforms.

    Attributes:
        model: the file.
        min_samples: the shortest it takes.
    """

    model: Model
    min_samples: int

    def __call__(self, batch: Sequence[Any]) -> Floats:
        """Return (n, dim) float32 of n sounds (samples,) float32."""
        return self.model([np.pad(sound, (0, max(0, self.min_samples - len(sound)))) for sound in batch])


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """A model of pictures.

    Attributes:
        model: the file.
        mean: of pixel values from 0 to 1, per channel.
        std: likewise.
    """

    model: Model
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, batch: Sequence[Any]) -> Floats:
        """Return (n, dim) float32 of n pictures (H, W, 3) uint8."""
        return self.model([self._pixels(picture) for picture in batch])

    def _pixels(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        pixels: NDArray[Any] = picture
        if self.model.dtype is not np.uint8:
            mean, std = (np.array(values, np.float32) * np.float32(255) for values in (self.mean, self.std))
            pixels = (picture - mean) / std
        return pixels.transpose(2, 0, 1) if self.model.layout == "nchw" else pixels


def _model(file: Path, kind: Kind, output: str | None, layout: Layout) -> Model:
    """Open a file and check its metadata."""
    session = _session(file)
    inputs, outputs = session.get_inputs(), [given.name for given in session.get_outputs()]
    if len(inputs) != 1:
        raise BadSpec(f"{file.name} takes {', '.join(each.name for each in inputs)}: an encoder has one input")
    if output is not None and output not in outputs:
        raise BadSpec(f"{file.name} has no output {output!r}: there are {', '.join(outputs)}")
    shape, words = inputs[0].shape, inputs[0].type
    extra = len(shape) - _RANK[kind]
    if extra not in {0, 1} or words not in _TYPES or (kind == "waveform" and words == "tensor(uint8)"):
        raise BadSpec(f"{file.name} takes {words} {shape}, which is no {kind}")
    if extra and isinstance(shape[0], int) and shape[0] != 1:
        raise BadSpec(f"{file.name} takes exactly {shape[0]} inputs at a time: export it with a free batch axis")
    batch: Literal["one", "any"] = "one" if shape[0] == 1 else "any"
    length = shape[-1] if isinstance(shape[-1], int) else None
    return Model(session, file.name, output or outputs[0], layout, batch if extra else "none", length, _TYPES[words])


def _session(file: Path) -> Any:
    with optional():
        import onnxruntime
    if not file.is_file():
        raise MissingWeights(f"onnx file={file}: there is no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, in one line
    # Threads that wait for work otherwise burn the time of decoders and of other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of ONNX Runtime have no common class of their own
        raise BadSpec(f"onnx file={file} is no ONNX model that can run here: {_brief(error)}") from error


def _width(tower: Tower, trial: NDArray[Any]) -> int:
    """Try a model, with two inputs so that a wrong batch axis shows."""
    try:
        return tower.features([trial, trial]).shape[1]
    except BadMedia as error:
        raise BadSpec(str(error)) from error


def _beside(file: Path) -> list[str]:
    """Hash the weights that large models keep in a second file."""
    seconds = (file.with_name(file.name + end) for end in (".data", "_data"))
    return [_fingerprint.of_file(second) for second in seconds if second.is_file()]


def _brief(error: BaseException) -> str:
    """Return the first line of an error of ONNX Runtime, without its number."""
    return str(error).strip().splitlines()[0].rpartition(" : ")[2]
