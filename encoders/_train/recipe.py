"""The settings of a run, written next to its results."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quiver.encoders import _settings
from quiver.encoders._train import sharding
from quiver.encoders._train.rank import first, share
from quiver.encoders._train.schedule import refusal
from quiver.errors import BadSpec
from quiver.files import write_json

#: Settings that do not change what a run learns up to any step.
FREE = frozenset(
    ("device", "extend", "log_every", "patience", "save_every", "tracker", "validate_every", "validations", "workers")
)

#: Settings that change with the number of ranks that share the rows of an update.
RANKED = frozenset(("accumulate", "batch", "ranks", "shard"))


def write_recipe(out: Path, recipe: Any, *, model: str | None = None, data: Sequence[str] = ()) -> None:
    """Write ``out/recipe.json``; refuse to resume a run in the same folder with other settings.

    Settings called ``steps``, or whose name ends in ``_steps``, and ``loop.epochs`` may be raised, with a cosine only
    where ``loop.extend=restart``; those of FREE may be anything. Another number of ranks goes on with another batch, so
    that updates have as many rows as before: order of rows and schedule are the same, draws such as dropout are others.
    Files of older versions are read by the names that settings had then, see ``Recipe.FORMER``; settings that they lack
    had the values of ``Recipe.EARLIER``. On several ranks the first writes and checks for all.

    Args:
        out: the folder of the run.
        recipe: a dataclass instance.
        model: name of the trained model; None keeps the one written there.
        data: specs of its data; () keeps those written there.

    Raises:
        BadSpec: a setting differs, the message names it; or ``loop.shard`` cannot work here.
    """
    if (loop := getattr(recipe, "loop", None)) is not None:
        sharding.refuse(loop)
    if not first():
        return
    path = out / "recipe.json"
    settings = json.loads(json.dumps(_settings.flat(recipe), default=str))
    before = json.loads(path.read_text()) if path.is_file() else {}
    said = {"model": model or before.get("model"), "data": list(data) or before.get("data", [])}
    ranks = {"ranks": share()[1]}
    resumed = before if (out / "resume").is_dir() else {}
    earlier = getattr(type(recipe), "EARLIER", {}) if resumed else {}
    begun = {**earlier, **_settings.former_names(recipe, resumed.get("recipe", {})), **_known(resumed)}
    if "ranks" in resumed and resumed["ranks"] != ranks["ranks"]:
        begun = _as_shared(begun, settings, resumed["ranks"], ranks["ranks"], out)
    for name, old, new in differing(begun, {**settings, **_known(said)}):
        raise BadSpec(
            f"{out} was started with {name}={old}, not {new}: give the old value, another folder, "
            "or --fresh to start over"
        )
    _refuse_jump(out, begun, settings)
    write_json(path, {**said, **ranks, "recipe": _settings.nested(settings)}, indent=2)


def forget(out: Path) -> None:
    """Remove the files of an earlier run from its folder; the first rank does this for all."""
    if not first() or not (out / "recipe.json").is_file():
        return
    for name in ("resume", "tensorboard", "model"):
        if (out / name).exists():
            shutil.rmtree(out / name)
    for name in ("log.jsonl", "curve.png", "recipe.json"):
        (out / name).unlink(missing_ok=True)


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (name, old, new) of the common settings that differ but must be equal."""
    return [
        (name, old[name], value)
        for name, value in new.items()
        if name in old and old[name] != value and not _free(name) and not _raised(name, old[name], value)
    ]


def _as_shared(
    begun: Mapping[str, Any], settings: Mapping[str, Any], before: int, now: int, out: Path
) -> dict[str, Any]:
    """Return earlier settings as they would be on another number of ranks.

    Raises:
        BadSpec: an update would have other rows than before; the message says which batch has the same.
    """
    kept = dict(begun)
    for name, old in begun.items():
        bare, new = name.rpartition(".")[2], settings.get(name)
        if bare == "batch" and isinstance(old, int) and new is not None:
            rows = old * before
            if new * now != rows:
                hint = (
                    f"give {name}={rows // now}" if rows % now == 0 else f"take a number of ranks that divides {rows}"
                )
                raise BadSpec(
                    f"{out} was started on {before} rank(s) with {name}={old}, {rows} rows an update: to go on with "
                    f"{now}, {hint}, or --fresh to start over"
                )
        if bare in RANKED and new is not None:
            kept[name] = new
    return kept


def _refuse_jump(out: Path, begun: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse more steps of a part that has run, where they would raise the rate of its cosine again."""
    if settings.get("loop.schedule") != "cosine" or settings.get("loop.extend") == "restart":
        return
    for name, value in settings.items():
        old, bare = begun.get(name), name.rpartition(".")[2]
        if bare in ("steps", "epochs") and old and value != old:
            raise BadSpec(f"{out}: {refusal(name, old, value)}")


def _free(name: str) -> bool:
    return name.rpartition(".")[2] in FREE


def _known(said: Mapping[str, Any]) -> dict[str, Any]:
    return {f"--{name}" if name == "data" else name: said[name] for name in ("model", "data") if said.get(name)}


def _raised(name: str, old: Any, new: Any) -> bool:
    bare = name.rpartition(".")[2]
    counted = bare == "steps" or bare.endswith("_steps") or name == "loop.epochs"
    return counted and isinstance(old, int | float) and isinstance(new, int | float) and new > old
