"""Train generators of captions: ``python -m quiver.benchmarks.study.change_writers --out DIR ...``.

It goes on from the models that ``study.changes`` left in the same ``--out`` with the same data, network, seeds and
settings, and trains several generators on each, with ``caption.*`` settings; ``study.change_captions`` measures them.
A writer is a name with its own settings:

* ``adapted``: the encoder of pairs starts from stage one;
* ``"fresh caption.adapted=false"``: it starts as stage one started;
* ``"duda caption.generator=duda"``: DUDA, which reads the frozen features.

``DIR/NAME-SEED/model`` is a whole model. Finished ones are not trained again.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from time import process_time

import numpy as np
import torch

from quiver import registry
from quiver.benchmarks.study.changes import Parts, Study, parser
from quiver.encoders.clip4idc import caption_train, train
from quiver.encoders.clip4idc.caption_model import FOLDER
from quiver.encoders.clip4idc.data import Features
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.errors import BadSpec

WRITERS = ("adapted", "fresh caption.adapted=false", "duda caption.generator=duda")


def write(study: Study, writer: str, seed: int) -> float:
    """Train a generator, unless it is there; return the processor seconds of its training.

    Raises:
        BadSpec: stage one is not there, or ``caption.steps`` is 0.
    """
    name, options = registry.split(writer)
    folder, first = study.given.out / f"{name}-{seed}", study.given.out / f"clip4idc-{seed}" / "model"
    note = folder / "written.json"
    if note.is_file():
        return float(json.loads(note.read_text(encoding="utf-8"))["cpu_s"])
    recipe = study.recipe(options, seed)
    if not recipe.caption.steps or not first.is_dir():
        raise BadSpec(
            f"there is no {first}, or caption.steps is 0: run study.changes with the same --out, then give it"
        )
    captions = study.captions
    model = Clip4Idc.open(first)
    lessons = {
        part: train.prepare(captions[part], model.config, study.source, recipe, Path(study.given.out))
        for part in ("learn", "validation")
    }
    train.save(model, recipe.extractor, folder / "model")
    if not recipe.caption.adapted:
        new = train.build(recipe, captions["learn"], study.source, name=model.config.name)
        pictures = lessons["learn"].pictures
        assert isinstance(pictures, Features)
        rows = pictures.rows[: train.MEASURED].astype(np.float32)
        new.pairs.measure(torch.from_numpy(rows))
        model.pairs.load_state_dict(new.pairs.state_dict())
    learn, held = (
        (lessons[part].captions, getattr(study.parts, part), lessons[part].pictures) for part in ("learn", "validation")
    )
    started = process_time()
    caption_train.tell(model, learn, held, folder, recipe=recipe.caption, data=recipe.data, base=recipe.loop)
    seconds = process_time() - started
    assert (folder / "model" / FOLDER).is_dir()
    note.write_text(json.dumps({"cpu_s": seconds}), encoding="utf-8")
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all writers with all seeds."""
    takes = parser(__doc__)
    takes.add_argument("--writers", nargs="+", default=WRITERS, help="names with their settings")
    given = takes.parse_args(arguments)
    study = Study(Parts.of(given.data, given.counts), given)
    for seed in given.seeds:
        for writer in given.writers:
            with redirect_stdout(sys.stderr):
                seconds = write(study, writer, seed)
            print(f"{writer} seed {seed}: {seconds:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
