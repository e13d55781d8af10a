"""``quiver train``: train a model on data sets or on your own files."""

import contextlib
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show, table
from quiver.errors import BadData, BadSpec, require

#: Exit status after Ctrl-C.
STOPPED = 130


def train(
    model: Annotated[str, typer.Argument(help="Model to train, such as mmv, or the dotted name of your own module.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings such as loop.rate=1e-4 or dim=512; see --recipe."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data set ('world track=films'), folder, manifest or webdataset; may be repeated."),
    ] = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run: checkpoints, log, learning curve and the model.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset to start from: cpu for a small machine, or paper.")] = "cpu",
    recipe: Annotated[bool, typer.Option("--recipe", help="List all settings without training.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard an earlier run in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to stderr.")] = False,
) -> None:
    """Train a model. After Ctrl-C, SIGTERM or a crash, the same command resumes.

    For several GPUs: torchrun --nproc-per-node 4 -m quiver train ...
    """
    require("torch", "accelerate", extra="train")
    school = _school(model)
    chosen = _choose(school, model, settings or [], preset=preset)
    if recipe:
        _list(school, json=json)
        return
    if not data or out is None:
        raise BadSpec(_explain(school, model, lacks="--out DIR" if data else "--data SPEC"))
    try:
        columns = table.given(
            meta=meta, key=key, media=media, text=text, image=image, id_column=id_column, path_column=path_column
        )
        command = [model, *(settings or ()), *([f"preset={preset}"] if preset != "cpu" else []), "--out", str(out)]
        outcome = _train(school, chosen, _specs(data, columns), out, command=command, fresh=fresh, json=json)
    except KeyboardInterrupt as stop:
        if fresh:
            show.warn("leave --fresh out of the next command, or it starts over")
        raise typer.Exit(getattr(stop, "status", STOPPED)) from stop  # 143 after SIGTERM, as schedulers expect
    if outcome is not None:
        _report(outcome, shlex.join([model, f"checkpoint={out / 'model'}"]), json=json)


def _specs(data: list[str], columns: dict[str, str | None]) -> list[str]:
    from quiver.engine.tasks import training_data

    return training_data.with_columns(data, columns)


def _train(school: Any, recipe: Any, data: list[str], out: Path, *, command: list[str], fresh: bool, json: bool) -> Any:
    """Train; return the outcome on the first rank, None on the others. ``command`` is the model with its settings."""
    from quiver.encoders._train import stoppable

    with stoppable():
        return _run(school, recipe, data, out, command=command, fresh=fresh, json=json)


def _run(school: Any, recipe: Any, data: list[str], out: Path, *, command: list[str], fresh: bool, json: bool) -> Any:
    from quiver.encoders._train import first, forget, leave, write_recipe
    from quiver.engine.tasks import training_data

    learn, validation = training_data.lessons(data)
    model, *rest = command
    if fresh:
        forget(out)
    write_recipe(out, recipe, model=model, data=[training_data.full_name(each) for each in data])
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        if first():
            _announce(learn, validation)
        try:
            outcome = school.train(learn, validation, out, recipe=recipe)
        except BadData as error:
            edits = bool(getattr(school, "LEARNS_FROM_EDITS", False))
            if not (advice := training_data.advice(learn, data, model=model, edits=edits, more=rest)):
                raise
            raise BadData(f"{error}. {advice}") from error
    leave()
    return outcome if first() else None


def _school(model: str) -> Any:
    """Return the module ``train`` of a model."""
    import importlib

    from quiver import registry

    found = registry.module("encoders", model)
    place = f"{found.__name__}.train"
    try:
        if not hasattr(found, "__path__"):
            raise ModuleNotFoundError(name=place)
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise
        raise BadSpec(f"{model} cannot be trained; trainable models: {', '.join(_trainable()) or 'none'}") from error


def _trainable() -> list[str]:
    import quiver.encoders
    from quiver import registry

    folders = [Path(folder) for folder in quiver.encoders.__path__]
    return [name for name in registry.names("encoders") if any((each / name / "train.py").exists() for each in folders)]


def _choose(school: Any, model: str, settings: list[str], *, preset: str) -> Any:
    """Return the recipe of a preset and settings."""
    from quiver import registry
    from quiver.encoders._settings import changed, parse

    _, options = registry.split(shlex.join([model, *settings]))
    preset = options.pop("preset", preset)
    if preset not in school.PRESETS:
        raise BadSpec(f"{model} has no preset {preset!r}; its presets are {', '.join(school.PRESETS)}")
    recipe = school.PRESETS[preset]
    return changed(recipe, parse(recipe, options, model=model))


def _explain(school: Any, model: str, *, lacks: str) -> str:
    says = (school.train.__doc__ or "").strip().partition("\n")[0]
    return (
        f"quiver train {model} needs {lacks}{f' ({says})' if says else ''}: give --data a data set of `quiver bench "
        f"list`, a folder or a manifest, and --out a folder, as in `quiver train {model} --data shop.csv --text name "
        f"--out runs/shop`; `quiver train {model} --recipe` lists its settings"
    )


def _list(school: Any, *, json: bool) -> None:
    from quiver.encoders._settings import flat, listed

    presets = {name: flat(each) for name, each in school.PRESETS.items()}
    settings = listed(next(iter(school.PRESETS.values())))
    if json:
        found = [asdict(each) for each in settings]
        groups = [each for each in found if each["kind"] == "group"]
        fields = [each for each in found if each["kind"] != "group"]
        show.write_json({"groups": groups, "fields": fields, "presets": presets})
        return
    titles = ("setting", "type", *presets, "meaning")
    rows = [
        (each.name, each.kind, *(_written(values.get(each.name, "")) for values in presets.values()), each.says)
        for each in settings
    ]
    show.write_table(titles, rows)


def _written(value: Any) -> str:
    """Format a value as it is typed: ``none`` for None, ``true`` for True."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _announce(learn: Any, validation: Any) -> None:
    for what, task in (("training on", learn), ("validating on", validation)):
        if task is not None:
            print(f"{what} {len(task.items):,} items and {len(task.questions):,} questions: {task.protocol}")
            for note in task.notes:
                show.warn(note)


def _report(outcome: Any, spec: str, *, json: bool) -> None:
    if json:
        show.write_json({**asdict(outcome), "encoder": spec})
        return
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
    chosen = f"; best state: step {outcome.best}, {figures}" if figures else ""
    print(f"{outcome.step:,} steps, {outcome.seconds:.0f} s in this run{chosen}")
    print(f'use it: quiver add COLLECTION FILES --encoder "{spec}"')
