"""Captioners: models that describe a picture, a video, or the change between two pictures in words.

    one picture           BLIP, BLIP-2, GIT, Florence-2, PaliGemma        their own prompt, or none
    one or more pictures  Qwen-VL, SmolVLM, InternVL, Gemma 3, LLaVA, ... chat models: they are asked in words

Any class of ``AutoModelForImageTextToText`` with a chat template works; a video is shown to it as pictures in order.
Decoding is greedy or a beam search, never sampled, with the other settings of the model's ``generation_config.json``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiver.encoders import _fingerprint, _hub
from quiver.encoders._custom_code import Code
from quiver.encoders._precision import Precision, dtype
from quiver.encoders.transformers.checkpoint import part
from quiver.encoders.transformers.within import Within
from quiver.errors import BadSpec, MissingWeights
from quiver.media import ImageReader, PairReader, VideoReader
from quiver.protocols import Reader, Told
from quiver.types import Floats, Space

if TYPE_CHECKING:
    import torch

#: Models of one picture, with their prompts; None for no prompt.
PLAIN: dict[str, str | None] = {
    "blip": None,
    "blip-2": None,
    "git": None,
    "florence2": "<CAPTION>",
    "paligemma": "<image>caption en",
}
#: What a chat model is asked, by key.
ASKED = {
    "image": "Describe this picture in one sentence.",
    "video": "These pictures are frames of one video, in order. Describe the video in one sentence.",
    "pair": "Describe in one sentence what changed from the first picture to the second.",
}
#: Pictures with more pixels are shrunk before a model sees them: a chat model takes a token per thousand pixels.
PIXELS = 1 << 20
#: Frames of a video.
FRAMES = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked for.

    Attributes:
        prompt: prompt of a plain model, or question to a chat model; None for the usual one.
        tokens: largest number of tokens of a caption.
        precision: of weights and sums; ``auto`` is that of the checkpoint.
        batch: inputs that go through the network together.
        frames: of a video; None for FRAMES.
    """

    prompt: str | None
    tokens: int
    precision: Precision
    batch: int
    frames: int | None

    def __post_init__(self) -> None:
        for name in ("tokens", "batch"):
            if getattr(self, name) < 1:
                raise BadSpec(f"{name} must be at least 1, not {getattr(self, name)}")


def captions(kind: str) -> bool:
    """Whether the library has a captioner of a model type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def captioner(model: str, name: str, wanted: Wanted, place: "torch.device", code: Code) -> "Describes":
    """Load a captioner.

    Args:
        model: a folder, or a repository of the Hub.
        name: its display name.
        wanted: the user's options.
        place: the device to run on.
        code: the commit to load.

    Raises:
        BadSpec: the model is neither a known captioner nor a chat model.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    network, processor, config = _hub.load(model, lambda folder: _open(folder, wanted.precision), code=code)
    if config["model_type"] not in PLAIN and not getattr(processor, "chat_template", None):
        raise BadSpec(
            f"transformers model={model} is of type {config['model_type']!r} and has no chat template, so how to ask"
            f" it is unknown; captioners are chat models and {', '.join(sorted(PLAIN))}"
        )
    network = network.eval().requires_grad_(False).to(place)
    processor.tokenizer.padding_side = "left"
    parts = (
        _hub.stable(config),
        _hub.stable(processor.to_dict()),
        _hub.stable(network.generation_config.to_dict()),
        repr((wanted.prompt, wanted.tokens, wanted.frames, str(network.dtype), ASKED, PIXELS)),
    )
    revision = _fingerprint.of_state(network.state_dict(), "transformers caption 1", *parts)
    return Describes((Captioner(network, processor, wanted, name=name, revision=revision),))


def _open(folder: Path, precision: Precision) -> tuple[Any, Any, dict[str, Any]]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        network, report = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype(precision), trust_remote_code=False, output_loading_info=True
        )
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    if absent := sorted(report["missing_keys"]):
        raise MissingWeights(f"{folder} lacks {len(absent)} of the weights, such as {absent[0]}")
    processor = part("processor", folder, lambda: AutoProcessor.from_pretrained(folder, trust_remote_code=False))
    return network, processor, network.config.to_dict()


@dataclass(frozen=True, slots=True)
class Describes:
    """An encoder that embeds nothing: it only has tellers."""

    tellers: tuple["Captioner", ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """No keys."""
        return ()

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return no spaces."""
        return ()

    def reader(self, key: str) -> Reader:
        """Raise BadSpec."""
        raise self._refused(key)

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Raise BadSpec."""
        raise self._refused(key)

    def _refused(self, key: str) -> BadSpec:
        return BadSpec(f"{self.tellers[0].name} describes media in words and does not embed {key}")


class Captioner:
    """A teller: see ``quiver.protocols.Teller``.

    Args:
        network: a model with ``generate``.
        processor: its processor: tokenizer and image processor.
        wanted: the user's options.
        name: display name.
        revision: hash of all that affects its captions.
    """

    def __init__(self, network: Any, processor: Any, wanted: Wanted, *, name: str, revision: str) -> None:
        self.network, self.processor, self.wanted = network, processor, wanted
        self.name, self.revision = name, revision
        self.at_once = wanted.batch
        self._plain = network.config.model_type in PLAIN
        whole = ImageReader()
        readers: dict[str, Reader] = {"image": whole}
        if not self._plain:
            readers |= {"video": VideoReader(wanted.frames or FRAMES, whole), "pair": PairReader(whole)}
        self._readers = {key: Within(reader, PIXELS) for key, reader in readers.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it describes: image, and for a chat model video and pair too."""
        return tuple(self._readers)

    def reader(self, key: str) -> Reader:
        """Return the reader of a key: pictures of at most PIXELS pixels, one or several."""
        if key not in self._readers:
            raise BadSpec(f"{self.name} describes {' and '.join(self.keys)}, not {key}")
        return self._readers[key]

    def tell(self, key: str, batch: Sequence[Any], *, beams: int = 1, most: int = 1) -> list[list[Told]]:
        """Describe outputs of the reader; see ``quiver.protocols.Teller.tell``."""
        self.reader(key)
        if not 1 <= most <= beams:
            raise BadSpec(f"beams must be at least 1, and most from 1 to beams, not beams={beams} and most={most}")
        size = self.wanted.batch
        with _hub.quiet():
            parts = [self._tell(key, batch[at : at + size], beams, most) for at in range(0, len(batch), size)]
        return [told for part in parts for told in part]

    def _tell(self, key: str, batch: Sequence[Any], beams: int, most: int) -> list[list[Told]]:
        import torch

        inputs = (self._given if self._plain else self._asked)(key, batch)
        with torch.inference_mode():
            found = self.network.generate(
                **inputs.to(self.network.device, self.network.dtype),
                max_new_tokens=self.wanted.tokens,
                num_beams=beams,
                num_return_sequences=most,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        tokens, scores = _scored(found, _stops(self.network))
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        told = [Told(text.strip(), score) for text, score in zip(texts, scores, strict=True)]
        lists = [told[at : at + most] for at in range(0, len(told), most)]
        return [sorted(each, key=lambda one: -one.score) for each in lists]

    def _given(self, key: str, batch: Sequence[Any]) -> Any:
        """Prepare pictures for a model that was trained to describe."""
        prompt = self.wanted.prompt or PLAIN[self.network.config.model_type]
        text = {} if prompt is None else {"text": [prompt] * len(batch), "padding": True}
        return self.processor(images=[pictures[0] for pictures in _opened(batch)], return_tensors="pt", **text)

    def _asked(self, key: str, batch: Sequence[Any]) -> Any:
        """Prepare a question about pictures for a chat model."""
        question = {"type": "text", "text": self.wanted.prompt or ASKED[key]}
        chats = [
            [{"role": "user", "content": [*({"type": "image", "image": each} for each in pictures), question]}]
            for pictures in _opened(batch)
        ]
        return self.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )


def _opened(batch: Sequence[Any]) -> list[list[Any]]:
    from PIL import Image

    return [[Image.fromarray(picture) for picture in pictures] for pictures in batch]


def _stops(network: Any) -> set[int]:
    """Return the tokens that end a caption."""
    if network.config.model_type == "blip":  # its decoder ends with [SEP], whatever the settings say
        return {int(network.config.text_config.sep_token_id)}
    inner = network.language_model if network.config.model_type == "blip-2" else network
    stops = inner.generation_config.eos_token_id
    return set(stops if isinstance(stops, list) else [] if stops is None else [stops])


def _scored(found: Any, stops: set[int]) -> tuple["torch.Tensor", list[float]]:
    """Cut the prompts off generated sequences, and score what is left.

    Args:
        found: an output of ``generate`` for n sequences, with logits (beams, vocabulary) of every step.
        stops: the tokens that end a sequence.

    Returns:
        (n, steps) int64 tokens, and the mean log-probability of each sequence up to its end.
    """
    import torch

    beams = getattr(found, "beam_indices", None)
    if beams is None:
        steps = len(found.logits)
        tokens = found.sequences[:, -steps:]
        ended = torch.isin(tokens, torch.tensor(sorted(stops), dtype=tokens.dtype, device=tokens.device))
        valid = ended.long().cumsum(1) - ended.long() == 0
        beams = torch.arange(len(tokens), device=tokens.device)[:, None].expand(-1, steps)
    else:
        steps = int((beams >= 0).sum(1).max())
        tokens, beams = found.sequences[:, -steps:], beams[:, :steps]
        valid = beams >= 0
    total = torch.zeros(len(tokens), dtype=torch.float64)
    for step in range(steps):
        logp = found.logits[step].float().log_softmax(1)[beams[:, step].clamp(min=0), tokens[:, step]]
        total += torch.where(valid[:, step], logp, 0).double().cpu()
    return tokens, (total / valid.sum(1).clamp(min=1).cpu()).tolist()
