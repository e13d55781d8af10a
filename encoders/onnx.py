"""Any ONNX file: texts, sounds, or pictures and videos.

``onnx file=yamnet.onnx input=waveform min_samples=15600``, ``onnx file=net.onnx input=image size=224`` or
``onnx file=onnx/model.onnx input=text``.

Runs in ONNX Runtime (github.com/microsoft/onnxruntime, MIT), on a GPU where the installed build has one. An output of
more than one vector, such as the tokens of a text, the patches of a sound or the places of a feature map, is averaged,
or joined as ``pool`` says; a video is the mean of its frames' unit vectors. Whether inputs go through one by one or
together is read from the file: together needs a batch axis of any length.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _fingerprint, _onnx, _pixel
from quiver.encoders._onnx import TYPES, Fed, Layout, Model, Pool
from quiver.encoders._tower import Tower, Towers, averaged
from quiver.errors import BadMedia, BadSpec, MissingWeights, optional
from quiver.media import AudioReader, ImageReader, TextReader, VideoReader
from quiver.protocols import Encoder
from quiver.types import Floats, Space

Kind = Literal["waveform", "image", "text"]
#: Axes of the main input without that of a batch, and its types.
_RANK = {"waveform": 1, "image": 3, "text": 1}
_MAIN = {
    "waveform": (np.float32, np.float16),
    "image": (np.float32, np.float16, np.uint8),
    "text": (np.int64, np.int32),
}
#: Inputs of text models that are made from a text.
_WORDS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_TOKENS = "tokenizer.json"
#: Most tokens of a text where neither the tokenizer nor the model says how many.
_LONGEST = 512


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    file: Path,
    input: Kind,
    output: str | None = None,
    feed: str | None = None,
    also: str = "",
    pool: Pool = "auto",
    rate: int = 16_000,
    seconds: float | None = None,
    min_samples: int = 1,
    size: int = 224,
    layout: Layout = "nchw",
    mean: str = "0.485,0.456,0.406",
    std: str = "0.229,0.224,0.225",
    frames: int = 8,
    tokenizer: Path | None = None,
    length: int | None = None,
    prompt: str = "",
    query: str | None = None,
    device: str = "auto",
    providers: str = "",
) -> Encoder:
    """Load a file.

    Args:
        file: the model.
        input: what it takes: ``waveform`` (samples,) from -1 to 1, ``image`` (height, width, colour), or ``text``.
        output: the name of the output that holds the vector; if not said, the first one, of texts a ready vector
            (``sentence_embedding``, ``text_embeds``) before that of every token.
        feed: the name of the input that takes the waveform or image, where the model has several.
        also: what further inputs are given, as in ``sr=16000,lengths=length``: a number that fills the input, or
            ``length`` for the number of samples.
        pool: what becomes of several vectors of one input: their ``mean``, or the largest value of each feature
            (``max``), which lets a short event in a long sound count; of a text also the ``first`` or ``last`` token.
            ``auto`` is the mean of patches and places; of tokens it is what 1_Pooling/config.json says.
        rate: samples per second of a waveform (Hz).
        seconds: at most this much of a sound, from its beginning; all of it if not said.
        min_samples: shorter waveforms are filled up with silence at the end.
        size: side of the square an image is cropped to, in pixels.
        layout: whether colours come before height and width (``nchw``) or after (``nhwc``).
        mean: of pixel values from 0 to 1: one number or three. A model of uint8 takes pixels as they are.
        std: likewise; ``mean=0.5 std=0.5`` scales to -1 to 1, ``mean=0 std=0.00392157`` to 0 to 255.
        frames: taken from a video, evenly spread.
        tokenizer: of a text; tokenizer.json beside the file, or in the folder above it, if not said.
        length: most tokens of a text; if not said, as the tokenizer says, else 512.
        prompt: text to put before every stored text.
        query: text to put before the text of a query; ``prompt`` if not said.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        providers: execution providers of ONNX Runtime, joined by commas, in place of ``device``.

    Raises:
        MissingWeights: there is no such file, or no tokenizer.json.
        BadSpec: it is no ONNX model, its inputs or output are not what was said, or the device is not there.
    """
    further = _further(also)
    model = _model(file, input, output, layout, feed, further, _onnx.session(file, device=device, providers=providers))
    chosen = pool if pool != "auto" else _pooling(file) if input == "text" else "mean"
    model = replace(model, pool=chosen)
    if input == "text":
        words = Words.open(model, tokenizer or _beside_tokenizer(file), length)
        made = _of_texts(words, prompt, prompt if query is None else query)
    elif input == "waveform":
        made = _of_sounds(model, AudioReader(rate, seconds=seconds), rate, min_samples)
    else:
        made = _of_pictures(model, size, _pixel.scale(mean, std), frames)
    dim = _width(next(iter(made.towers.values())), made.trial)
    settings = ["onnx 1", input, model.output, model.pool, layout]
    dtypes = [*(f"{name}={value}" for name, value in sorted(further.items())), *([feed] if feed else [])]
    revision = _fingerprint.of_file(file, *settings, made.recipe, *dtypes, *_beside(file))
    return Towers(Space(f"onnx/{file.stem}", dim, "cosine", revision), made.towers)


class _Made(NamedTuple):
    """Towers by key, what their vectors depend on beside the file, and an input to try them with."""

    towers: dict[str, Tower]
    recipe: str
    trial: Any


def _of_texts(words: "Words", prompt: str, asked: str) -> _Made:
    ask = None if asked == prompt else lambda batch: words([asked + text for text in batch])
    tower = Tower(TextReader(), lambda batch: words([prompt + text for text in batch]), ask)
    recipe = f"{words.length} {prompt!r} {_fingerprint.of_parts(words.tokenizer.to_str())}"
    return _Made({"text": tower}, recipe, "a text")


def _of_sounds(model: Model, sound: AudioReader, rate: int, min_samples: int) -> _Made:
    trial = np.zeros(model.length or max(min_samples, rate), np.float32)
    return _Made({"audio": Tower(sound, Ear(model, min_samples))}, f"{sound} {min_samples} samples", trial)


def _of_pictures(model: Model, size: int, scale: tuple[Any, Any], frames: int) -> _Made:
    eye, picture = Eye(model, *scale), ImageReader(size)
    video = Tower(VideoReader(frames=frames, image=picture), averaged(eye, at_once=64))
    recipe = f"{picture} {scale} {frames} frames"
    return _Made({"image": Tower(picture, eye), "video": video}, recipe, np.zeros((size, size, 3), np.uint8))


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


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A model of texts.

    Attributes:
        model: the file.
        tokenizer: of the library tokenizers.
        length: most tokens of a text, special ones among them.
        fixed: tokens that every text is filled up to, where the file takes no other number.
    """

    model: Model
    tokenizer: Any
    length: int
    fixed: int | None

    @classmethod
    def open(cls, model: Model, path: Path, length: int | None) -> "Words":
        """Read a tokenizer.

        Raises:
            MissingWeights: there is none.
            BadSpec: the file is none.
        """
        with optional():
            from tokenizers import Tokenizer
        if not path.is_file():
            raise MissingWeights(
                f"onnx: there is no {path}: copy the tokenizer of the model there, or give tokenizer=FILE"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare exceptions
            raise BadSpec(f"{path} is no tokenizer: {_onnx.brief(error)}") from error
        said = (tokenizer.truncation or {}).get("max_length")
        tokenizer.no_padding()
        most = min(each for each in (length, model.length, said if length is None else None, _LONGEST) if each)
        if length is not None and model.length is None:
            most = length
        tokenizer.enable_truncation(most)
        return cls(model, tokenizer, most, model.length)

    def __call__(self, batch: Sequence[Any]) -> Floats:
        """Return (n, dim) float32 of n texts; only texts of as many tokens go together, so none is padded."""
        return self.model([self._fed(each) for each in self.tokenizer.encode_batch_fast(list(batch))])

    def _fed(self, encoding: Any) -> Fed:
        count = len(encoding.ids)
        if not count:
            raise BadMedia("a text has no token")
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
            "position_ids": list(range(count)),
        }
        padding = (self.fixed or count) - count
        pads = {"input_ids": self._pad()} if padding else {}
        wanted = [each.name for each in self.model.session.get_inputs() if each.name in known]
        return {name: np.array(known[name] + [pads.get(name, 0)] * padding, np.int64) for name in wanted}

    def _pad(self) -> int:
        found = (self.tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"))
        return int(next((place for place in found if place is not None), 0))


def _further(also: str) -> dict[str, str]:
    """Return the values of further inputs by name."""
    found = {}
    for part in filter(None, (part.strip() for part in also.split(","))):
        name, _, value = part.partition("=")
        try:
            number = value == _onnx.LENGTH or bool(np.isfinite(float(value)))
        except ValueError:
            number = False
        if not (name and number):
            raise BadSpec(f"onnx also={also!r}: {part!r} is not NAME=NUMBER or NAME=length")
        found[name] = value
    return found


def _model(
    file: Path, kind: Kind, output: str | None, layout: Layout, feed: str | None, also: dict[str, str], session: Any
) -> Model:
    """Check the inputs and outputs of an open file."""
    inputs, outputs = {each.name: each for each in session.get_inputs()}, [each.name for each in session.get_outputs()]
    main = _main(file, kind, feed, also, inputs)
    if output is not None and output not in outputs:
        raise BadSpec(f"{file.name} has no output {output!r}: there are {', '.join(outputs)}")
    if output is None and kind == "text":
        output = next((name for name in ("sentence_embedding", "text_embeds") if name in outputs), None)
    shape, said = inputs[main].shape, inputs[main].type
    extra = len(shape) - _RANK[kind]
    if extra not in {0, 1} or TYPES.get(said) not in _MAIN[kind]:
        raise BadSpec(f"{file.name} takes {said} {shape}, which is no {kind}")
    if extra and isinstance(shape[0], int) and shape[0] != 1:
        raise BadSpec(f"{file.name} takes exactly {shape[0]} inputs at a time: export it with a free batch axis")
    batch: Literal["one", "any"] = "one" if shape[0] == 1 else "any"
    length = shape[-1] if isinstance(shape[-1], int) else None
    return Model(
        session,
        file.name,
        output or outputs[0],
        layout,
        batch if extra else "none",
        length,
        TYPES[said],
        main,
        also=also,
    )


def _main(file: Path, kind: Kind, feed: str | None, also: dict[str, str], inputs: dict[str, Any]) -> str:
    """Return the name of the main input; every other one must be known."""
    named = ", ".join(inputs)
    if absent := [name for name in (*also, *([feed] if feed else [])) if name not in inputs]:
        raise BadSpec(f"{file.name} has no input {absent[0]!r}: there are {named}")
    if strange := [each for each in inputs.values() if each.type not in TYPES]:
        raise BadSpec(
            f"{file.name} takes {strange[0].type} {strange[0].shape} as {strange[0].name}, which is no number"
        )
    if kind == "text":
        main = feed or "input_ids"
        left = [name for name in inputs if name not in (*_WORDS, *also)]
        if main not in inputs or left:
            raise BadSpec(f"{file.name} takes {named}: a text model takes input_ids; give also=NAME=NUMBER for others")
        return main
    left = [name for name in inputs if name not in also]
    if feed is None and len(left) != 1:
        raise BadSpec(
            f"{file.name} takes {named}: an encoder has one input; say which with feed=NAME, and the others with "
            "also=NAME=NUMBER,NAME=length"
        )
    if feed is not None and left != [feed]:
        rest = [name for name in left if name != feed]
        raise BadSpec(f"{file.name} also takes {', '.join(rest)}: give also={rest[0] if rest else feed}=NUMBER")
    return feed or left[0]


def _beside_tokenizer(file: Path) -> Path:
    """Return tokenizer.json of the file's folder, or of the one above, where the Hub keeps it beside onnx/."""
    above = file.resolve().parent.parent / _TOKENS
    own = file.parent / _TOKENS
    return above if not own.is_file() and above.is_file() else own


def _pooling(file: Path) -> Pool:
    """Return the pooling that a model of Sentence Transformers states beside its file; auto where it does not."""
    for folder in (file.parent, file.resolve().parent.parent):
        path = folder / "1_Pooling" / "config.json"
        if path.is_file():
            told = json.loads(path.read_text(encoding="utf-8"))
            modes: dict[str, Pool] = {
                "pooling_mode_cls_token": "first",
                "pooling_mode_mean_tokens": "mean",
                "pooling_mode_max_tokens": "max",
                "pooling_mode_lasttoken": "last",
            }
            found = [pool for name, pool in modes.items() if told.get(name)]
            if len(found) != 1:
                raise BadSpec(f"{path} joins several poolings, which onnx does not: give pool= one of them")
            return found[0]
    return "auto"


def _width(tower: Tower, trial: Any) -> int:
    """Try a model, with two inputs so that a wrong batch axis shows."""
    try:
        return tower.features([trial, trial]).shape[1]
    except BadMedia as error:
        raise BadSpec(str(error)) from error


def _beside(file: Path) -> list[str]:
    """Hash the weights that large models keep in a second file."""
    seconds = (file.with_name(file.name + end) for end in (".data", "_data"))
    return [_fingerprint.of_file(second) for second in seconds if second.is_file()]
