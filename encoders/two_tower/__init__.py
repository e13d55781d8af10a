"""Two towers: any image, text, audio or video encoders with heads that bring them into one space.

``two_tower checkpoint=FOLDER`` takes what ``quiver train two_tower`` leaves in ``model``. README.md beside this file
says what the model is, how it is trained, and what it reaches.
"""

from pathlib import Path

from quiver.protocols import Encoder


def load(
    *,
    checkpoint: Path,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    video: str | None = None,
    pair: str | None = None,
    device: str = "auto",
) -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json`` and ``model.safetensors``.
        text: the encoders below the text tower, where they are elsewhere than at the time of training.
        image: likewise.
        audio: likewise.
        video: likewise.
        pair: likewise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BadSpec: the encoders below give other vectors than those the model has learnt from.
        MissingWeights: the folder holds no model, or one that is not whole.
    """
    from quiver.encoders import _device
    from quiver.encoders.two_tower import encoder

    named = {"text": text, "image": image, "audio": audio, "video": video, "pair": pair}
    moved = {key: spec for key, spec in named.items() if spec is not None}
    return encoder.build(checkpoint, device=device, place=_device.pick(device), moved=moved)
