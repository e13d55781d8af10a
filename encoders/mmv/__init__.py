"""MMV: video, sound and text in spaces of their own graph, and single pictures by deflation.

``mmv checkpoint=FOLDER`` takes what ``quiver train mmv`` leaves in ``model``. README.md beside this file says what the
model is, how it is trained, and what is ours in it.
"""

from pathlib import Path
from typing import Literal

from quiver.protocols import Encoder


def load(
    *,
    checkpoint: Path,
    device: str = "auto",
    coarse: Literal["stored", "computed"] = "stored",
    windows: int = 1,
) -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json`` and ``model.safetensors``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        coarse: whether a ``fac`` model embeds video, sound and pictures into its coarse space too, or only into the
            fine one, from which a bridge computes the coarse vectors when they are asked for.
        windows: taken from a video or sound, each as long as the clips the model has learnt from, and averaged.

    Raises:
        BadSpec: ``coarse=computed`` with a model whose unit vectors do not determine coarse ones.
        MissingWeights: the folder holds no model, or one that is not whole.
    """
    from quiver.encoders import _device
    from quiver.encoders.mmv import encoder

    return encoder.build(checkpoint, device=_device.pick(device), coarse=coarse, windows=windows)
