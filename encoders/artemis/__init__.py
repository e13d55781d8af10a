"""Composed retrieval: a picture and a text of the wanted change find pictures.

One family, told apart by ``Config.composer``: ARTEMIS and its two halves, TIRG, late fusion, either side alone,
CIRPLANT, and the Combiner of CLIP4Cir. ``artemis checkpoint=out/model`` embeds pictures; its ``scorers`` rank them.
"""

from dataclasses import replace
from pathlib import Path

from quiver.encoders.artemis.config import Config
from quiver.protocols import Encoder

__all__ = ["Config", "load"]


def load(*, checkpoint: Path, device: str = "auto") -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json`` and ``model.safetensors``, as training leaves it in ``out/model``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; the encoders of its features have options of their own.

    Returns:
        An encoder of the key ``image``, with ``scorers`` and ``bridges``.

    Raises:
        MissingWeights: it is not there or not whole, or a file of its encoders is missing.
        BadSpec: the encoders that made its features cannot be loaded.
    """
    from quiver.encoders import _device
    from quiver.encoders._frozen import Frozen
    from quiver.encoders.artemis import encoder
    from quiver.encoders.artemis.model import Model
    from quiver.encoders.artemis.scorer import Composed
    from quiver.encoders.artemis.word import Vocabulary

    model = Model.open(checkpoint).to(_device.pick(device)).requires_grad_(False)
    config = model.config
    pictures = encoder.build(model)
    words: Vocabulary | Frozen | None = None
    if "text" in config.holds:
        words = encoder.frozen(model, "text") if config.wide("text") else Vocabulary.of(config)
    lifted = pictures.bridges[0].target if pictures.bridges else None
    return replace(pictures, scorers=(Composed(pictures.space, pictures.eye, words, lifted),))
