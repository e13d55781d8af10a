"""Training: a loop that any model can use, and its parts. Functions; models stay plain ``torch`` modules.

``fit`` optimises, resumes, logs and keeps the best state; ``gathered`` gives a contrastive loss the rows of all ranks,
``Contrast`` those of all parts of a batch, and ``synced`` batch normalisation those of all ranks; ``extract`` turns
references into features of a frozen encoder; ``Progress`` shows how far long work is; ``write_recipe`` refuses to
resume with other settings.

A trainable model's folder has a ``train.py`` with ``Recipe`` (groups of settings, see ``_settings``), ``PRESETS`` by
name and ``train(learn, validation, out, *, recipe) -> Outcome``, which writes ``out/model`` for the folder's own
``load``; see ``encoders/README.md``.
Several ranks: start the same command under ``torchrun`` with ``out`` on a disk that all of them see.
"""

from quiver.encoders._train.cached import Contrast
from quiver.encoders._train.feature import extract
from quiver.encoders._train.fitting import fit
from quiver.encoders._train.interrupt import Stopped, stoppable
from quiver.encoders._train.loop import Loop, Outcome, Phase
from quiver.encoders._train.norms import synced
from quiver.encoders._train.progress import Progress
from quiver.encoders._train.rank import first, gathered, leave
from quiver.encoders._train.recipe import forget, write_recipe

__all__ = [
    "Contrast",
    "Loop",
    "Outcome",
    "Phase",
    "Progress",
    "Stopped",
    "extract",
    "first",
    "fit",
    "forget",
    "gathered",
    "leave",
    "stoppable",
    "synced",
    "write_recipe",
]
