"""Registry: a name is a module, imported on use and configured by key=value options.

``quiver.encoders.timm`` is the encoder ``timm``; a dotted name such as ``my_company.encoder`` is a module outside
this package. Modules whose names start with ``_`` are not listed.

Some encoders ship with small checkpoints, folders of ``NAME/checkpoints``: ``mmv checkpoint=world`` is one of them, on
any machine and in any working directory. A folder of the user's that is called so is ``checkpoint=./world``.
"""

import importlib
import inspect
import pkgutil
import shlex
import types
import typing
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from quiver.errors import BadSpec, optional

#: Types of values, in words.
_WORDS: typing.Mapping[Any, str] = {str: "a string", int: "a whole number", float: "a number", Path: "a path"}

#: What the modules of a folder are, in words; others are called modules.
_KINDS: typing.Mapping[str, str] = {
    "encoders": "encoder",
    "benchmarks.datasets": "data set",
    "indexers": "kind of index",
}
#: Endings of files of queries and items, which are easily taken for data sets.
_TABLES = {".csv", ".tsv", ".jsonl", ".json", ".parquet", ".npy", ".toml"}


def in_words(kind: Any) -> str:
    """Return what a value of a type is, in words for a message.

    >>> in_words(int), in_words(Path)
    ('a whole number', 'a path')
    """
    return _WORDS.get(kind, f"a {getattr(kind, '__name__', kind)}")


def names(kind: str) -> list[str]:
    """List the modules of a folder, such as ``encoders`` or ``benchmarks.datasets``, without importing them."""
    package = importlib.import_module(f"quiver.{kind}")
    return sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.name.startswith("_"))


def module(kind: str, name: str) -> types.ModuleType:
    """Import the module of a name.

    Raises:
        BadSpec: no such module; the message lists the existing ones.
        MissingExtra: a package that the module imports is not installed.
    """
    if kind == "benchmarks.datasets" and Path(name).suffix in _TABLES:
        raise BadSpec(f"{name!r} is a file, but a data set is wanted: `quiver bench list` lists them")
    if "/" in name or "\\" in name or name.startswith(".") or name.endswith(".") or ".." in name:
        raise BadSpec(
            f"{name!r} is a path, but {kind} have names: write a trained model as 'NAME checkpoint={name}', with NAME"
            f" one of {', '.join(names(kind))}"
        )
    path = name if "." in name else f"quiver.{kind}.{name}"
    if "." not in name and name not in names(kind):
        near = get_close_matches(name, names(kind), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names(kind))}"
        raise BadSpec(f"no {_KINDS.get(kind, f'{kind} module')} is called {name!r}: {hint}")
    try:
        with optional():
            return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
            raise BadSpec(f"no module {path!r} can be imported: is it installed?") from error
        raise


#: The option of an encoder that takes a shipped checkpoint by its name.
CHECKPOINT = "checkpoint"


def shipped(kind: str, name: str) -> dict[str, Path]:
    """Return the checkpoints that ship with a module of this package, by name, without importing it.

    >>> "world" in shipped("encoders", "mmv"), shipped("encoders", "classic")
    (True, {})
    """
    if "." in name or "/" in name:
        return {}
    folders = (Path(place, name, "checkpoints") for place in importlib.import_module(f"quiver.{kind}").__path__)
    return {
        each.name: each for folder in folders if folder.is_dir() for each in sorted(folder.iterdir()) if each.is_dir()
    }


def _located(kind: str, name: str, options: dict[str, str]) -> dict[str, str]:
    """Return the options with the folder of a shipped checkpoint in place of its name."""
    named = options.get(CHECKPOINT)
    folder = shipped(kind, name).get(named) if named else None
    return options if folder is None else {**options, CHECKPOINT: str(folder)}


def split(spec: str) -> tuple[str, dict[str, str]]:
    """Split a spec into its name and options.

    >>> split("timm model=mobilenetv2_100 checkpoint='my model.safetensors'")
    ('timm', {'model': 'mobilenetv2_100', 'checkpoint': 'my model.safetensors'})
    """
    try:
        words = shlex.split(spec)
    except ValueError as error:
        raise BadSpec(f"cannot read {spec!r}: {error}") from error
    if not words:
        raise BadSpec("an empty spec: give a name and key=value options")
    options: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadSpec(f"in {spec!r}, {word!r} is not key=value")
        options[key] = value
    return words[0], options


def load(kind: str, spec: str, *, entry: str = "load") -> Any:
    """Call ``entry`` of the module that a spec names, with its options converted to the annotated types."""
    name, options = split(spec)
    function = getattr(module(kind, name), entry, None)
    if function is None:
        raise BadSpec(f"{name} has no {entry}() and cannot be used as one of {kind}")
    with optional():
        return function(**convert(function, _located(kind, name, options), name=name))


def canonical(spec: str) -> str:
    """Make a spec independent of the current folder: values that are paths on disk become absolute."""
    name, options = split(spec)
    paths = {key: Path(value).expanduser() for key, value in options.items() if _is_path(name, key, value)}
    absolute = {key: str(path.resolve()) for key, path in paths.items() if path.exists()}
    return shlex.join([name, *(f"{key}={value}" for key, value in {**options, **absolute}.items())])


def _is_path(name: str, key: str, value: str) -> bool:
    if key == CHECKPOINT and value in shipped("encoders", name):
        return False
    return "/" in value or Path(value).is_file() or (key == CHECKPOINT and Path(value).is_dir())


def convert(function: Callable[..., Any], options: dict[str, str], *, name: str) -> dict[str, Any]:
    """Convert option strings to the types of a function's keyword-only parameters."""
    accepted = {
        key: parameter
        for key, parameter in inspect.signature(function, eval_str=True).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if unknown := [key for key in options if key not in accepted]:
        raise BadSpec(f"{name} has no option {unknown[0]!r}; it takes {', '.join(accepted) or 'none'}")
    missing = [key for key, p in accepted.items() if p.default is p.empty and key not in options]
    if missing:
        raise BadSpec(f"{name} needs {missing[0]}=...")
    return {key: value(text, accepted[key].annotation, f"{name} {key}") for key, text in options.items()}


def value(text: str, annotation: Any, where: str) -> Any:
    """Convert text to a value of an annotated type; ``where`` names it in messages.

    Raises:
        BadSpec: the text is not a value of that type.
    """
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)  # Literal | None is a Union
    options = typing.get_args(annotation) if union else (annotation,)
    if type(None) in options and text.lower() == "none":
        return None
    kind = next((option for option in options if option is not type(None)), str)
    if typing.get_origin(kind) is typing.Literal:
        if text not in typing.get_args(kind):
            raise BadSpec(f"{where} must be one of {', '.join(typing.get_args(kind))}, not {text!r}")
        return text
    if kind is bool:
        if text.lower() not in {"true", "false", "yes", "no", "1", "0"}:
            raise BadSpec(f"{where} must be true or false, not {text!r}")
        return text.lower() in {"true", "yes", "1"}
    try:
        return Path(text).expanduser() if kind is Path else kind(text)
    except (TypeError, ValueError) as error:
        raise BadSpec(f"{where} must be {in_words(kind)}, not {text!r}") from error
