"""FashionBERT: words and patches read together, and whether they belong together.

``fashionbert checkpoint=FOLDER`` takes what ``quiver train fashionbert`` leaves in ``model``. README.md beside this
file says what the model is, how it is trained, and what is ours in it.
"""

from pathlib import Path
from typing import Literal

from quiver.protocols import Encoder


def load(*, checkpoint: Path, device: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto") -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``patches.json``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of scoring; ``auto`` takes bf16 where the device is made for it. What is stored is fp32 in any case.

    Returns:
        An encoder of ``text`` and ``image`` into columns for its ``scorers``, which rank what others recall.

    Raises:
        MissingWeights: the folder holds no model, or one that is not whole.
        BadSpec: what takes its patches from pictures cannot be loaded.
    """
    from quiver.encoders import _device
    from quiver.encoders.fashionbert import encoder

    return encoder.build(checkpoint, device=_device.pick(device), precision=precision)
