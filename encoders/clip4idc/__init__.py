"""CLIP4IDC: what changed between two pictures, in words, both ways.

``clip4idc checkpoint=FOLDER`` takes what ``quiver train clip4idc`` leaves in ``model``. README.md beside this file
says what the model is, how it is trained, and what it reaches.
"""

from pathlib import Path

from quiver.protocols import Encoder


def load(*, checkpoint: Path, device: str = "auto", rerank: bool = False) -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json`` and ``model.safetensors``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        rerank: whether to store what the caption generator reads of each pair (204 kB with a ViT-B/32), so that answers
            can be reranked by the likelihood of captions.

    Returns:
        An encoder of ``text`` and ``pair`` into one space. Pairs are ordered: (before, after) is another one than
        (after, before). If captioning was trained, it describes pairs in words.

    Raises:
        MissingWeights: the folder holds no model, or one that is not whole.
        BadSpec: a frozen encoder below the model gives other vectors than those that it has learnt from.
    """
    from quiver.encoders import _device
    from quiver.encoders.clip4idc import encoder

    return encoder.build(checkpoint, device=device, place=_device.pick(device), rerank=rerank)
