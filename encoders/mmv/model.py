"""MMV: towers for video, sound and text, and the graph of spaces in which they meet.

Alayrac et al. 2020, "Self-supervised multimodal versatile networks", arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv, Apache-2.0 (its weights are CC BY-NC 4.0; none are needed here).
Deviates: as ``graph``, ``head``, ``loss``, ``text`` and the towers' own modules say; ``Config.unit`` is ours.
Shapes: B clips, K narrations of a clip, D width of a space, F features of a tower; of a clip T frames of H
rows and W columns, of a sound T steps of F mel bands or N samples, of a text W words.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn

from quiver.encoders._saved import Saved
from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.graph import Graph
from quiver.encoders.mmv.loss import contrast
from quiver.encoders.mmv.resnet import SMALL, SMALL_FRAMES, SMALL_STEM, ResNet
from quiver.encoders.mmv.s3d import S3DG
from quiver.encoders.mmv.text import TextTower
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.encoders.mmv.word import Words
from quiver.encoders.mmv.yamnet import Config as YAMConfig
from quiver.encoders.mmv.yamnet import YAMNet
from quiver.errors import BadSpec

#: The vocabulary of a model with words: one per line, from row 1 of the table.
WORDS = "words.txt"

_BUILD: Mapping[str, Callable[[Config], nn.Module]] = {
    "s3d": lambda config: S3DG(space_to_depth=config.space_to_depth),
    "tsm50": lambda _: TSMResNet(depth=50),
    "tsm50x2": lambda _: TSMResNet(depth=50, widen=2),
    "tsm_small": lambda _: TSMResNet(stages=SMALL_FRAMES, stem=SMALL_STEM),
    "resnet18": lambda _: ResNet(depth=18),
    "resnet50": lambda _: ResNet(depth=50),
    "resnet_small": lambda _: ResNet(stages=SMALL, stem=SMALL_STEM),
    "yamnet": lambda config: YAMNet(YAMConfig(classes=0, pool=config.pool)),
}


class MMV(Saved):
    """The model.

    Args:
        config: what it is made of.
        words: vocabulary and vectors of its text tower, where that is ``words``.

    Attributes:
        towers: by modality.
        graph: the heads.
        tokens: the vocabulary, for a ``Tokeniser``; () where there is none.

    Raises:
        BadSpec: words are missing, superfluous, or of another width.
    """

    also: ClassVar[tuple[str, ...]] = (WORDS,)

    def __init__(self, config: Config, *, words: Words | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokens = words.tokens if words else ()
        self.towers = nn.ModuleDict({modality: _tower(config, modality, words) for modality in config.modalities})
        widths = {key: config.width(key) or int(getattr(tower, "width")) for key, tower in self.towers.items()}  # noqa: B009
        self.graph = Graph(config, widths)

    def features(self, modality: str, x: Tensor) -> Tensor:
        """Return the output of a tower, (B, F), the input of linear probes.

        Args:
            modality: one the model has.
            x: video (B, T, H, W, 3); audio (B, T, F, 1), or samples (B, N) for ``yamnet``; text (B, W) int64; or
                (B, F) for a ``features`` tower.

        Raises:
            BadSpec: the model has no such modality.
        """
        if modality not in self.towers:
            raise BadSpec(f"this mmv model has {', '.join(self.towers)}, but no {modality}")
        return self.towers[modality](x)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Embed a batch in all the spaces that training needs.

        Args:
            batch: by modality what ``features`` takes, one row per clip; of text (B, K, ...), K narrations per clip.
                Other entries are left alone.

        Returns:
            (B, D) by modality and space, (B, K, D) of text, not normalised.
        """
        given = {modality: batch[modality] for modality in self.towers if modality in batch}
        counts = given["text"].shape[:2] if "text" in given else ()
        flat = {modality: x.flatten(0, 1) if modality == "text" else x for modality, x in given.items()}
        made = self.graph({modality: self.features(modality, x) for modality, x in flat.items()})
        return {key: z.unflatten(0, counts) if key[0] == "text" else z for key, z in made.items()}

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss`` and its terms; ``contrast`` says what else a batch may hold.

        Within a wrapper for several devices call the wrapper, and ``contrast`` with what it gives.
        """
        return contrast(self(batch), batch, self.config)

    @torch.inference_mode()
    def embed(self, modality: str, x: Tensor, space: str) -> Tensor:
        """Embed for retrieval: (B, D), not normalised; a row does not depend on the others.

        Args:
            modality: one the model has.
            x: as ``features`` takes it.
            space: one of ``graph.spaces(modality)``.

        Raises:
            BadSpec: the model is in training, when rows depend on their batch, or has no such modality.
            NoRoute: the modality does not reach that space.
        """
        if self.training:
            raise BadSpec("an mmv model embeds in evaluation: call eval() first")
        return self.graph.project(modality, self.features(modality, x), space)

    def sizes(self) -> dict[str, int]:
        """Return the number of trained parameters of each tower and head."""
        parts = {**self.towers, **self.graph.heads}
        return {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}

    def generate_model_card(self) -> ModelCard:
        """Return the README that is saved next to the weights: description and use of the model."""
        spaces = {space: self.graph.dim(space) for key in self.towers for space in self.graph.spaces(key)}
        towers = "\n".join(f"- {key}: `{getattr(self.config, key)}`, into {', '.join(self.graph.spaces(key))}"
                           for key in self.towers)  # fmt: skip
        widths = ", ".join(f"`{space}` ({dim})" for space, dim in spaces.items())
        return ModelCard(
            "---\nlibrary_name: quiver-search\ntags:\n- multimodal\n- retrieval\n---\n# MMV\n\n"
            f"The {self.config.graph} graph of Alayrac et al. 2020, arXiv:2006.16228: spaces {widths}.\n\n{towers}\n\n"
            f"{sum(self.sizes().values()):,} trained parameters. `quiver` takes it as `mmv checkpoint=FOLDER`.\n"
        )

    @classmethod
    def _made(cls, config: Config, folder: Path, state: Mapping[str, Tensor]) -> Self:
        return cls(config, words=_words(folder / WORDS, state) if config.text == "words" else None)

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        if self.config.text == "words":
            (save_directory / WORDS).write_text("\n".join(self.tokens) + "\n", encoding="utf-8")


def _words(file: Path, state: Mapping[str, Tensor]) -> Words:
    tokens = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return Words(tuple(tokens), state["towers.text.table"].numpy())


def _tower(config: Config, modality: str, words: Words | None) -> nn.Module:
    name = getattr(config, modality)
    if modality == "text" and (name == "words") != (words is not None):
        raise BadSpec(f"mmv text={name} {'needs a vocabulary: give words' if name == 'words' else 'takes no words'}")
    if config.width(modality):
        return nn.Identity()
    if words is not None and modality == "text":
        if words.table.shape[1] != config.word_width:
            raise BadSpec(f"mmv word_width={config.word_width}, but the words' vectors are {words.table.shape[1]} wide")
        return TextTower(torch.tensor(words.table), config.word_hidden)
    return _BUILD[name](config)
