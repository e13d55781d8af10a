"""MAP-IVR: a still of an activity finds clips in which it happens, by appearance and by motion.

``map_ivr checkpoint=out/model`` embeds stills and clips; its ``scorers`` rank clips for a still. README.md beside this
file says what the model is, how it is trained, and what it reaches.
"""

from pathlib import Path

from quiver.protocols import Encoder


def load(
    *,
    checkpoint: Path,
    samples: int | None = None,
    blend: float | None = None,
    proposals: Path | None = None,
    image: str | None = None,
    video: str | None = None,
    device: str = "auto",
) -> Encoder:
    """Load a trained model.

    Args:
        checkpoint: a folder with ``config.json`` and ``model.safetensors``, as training leaves it in ``out/model``.
        samples: motion codes per query (h), 1 to 64; more find more and take longer. None is the model's own number.
        blend: lambda, the share of the motion distance in the score, from 0 (appearance alone) to 1; None is the value
            that was best on the validation set.
        proposals: file of the windows of clips with columns path, start, stop and maybe score, in place of windows of
            equal length.
        image: the encoders of stills, where their files are elsewhere than at the time of training.
        video: likewise, of clips.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        An encoder of the keys ``image`` and ``video``, with ``scorers`` and ``bridges``.

    Raises:
        MissingWeights: the folder holds no model, or one that is not whole.
        BadSpec: an option makes no sense, or encoders give other features than those the model has learnt from.
        BadData: the file of proposals cannot be read.
    """
    from quiver.encoders import _device
    from quiver.encoders.map_ivr.encoder import Options, build

    options = Options(samples=samples, blend=blend, proposals=proposals, image=image, video=video, device=device)
    return build(checkpoint, options, device=_device.pick(device))
