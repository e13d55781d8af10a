"""Python code that comes with a model: never run unless the user asks for it and pins it.

A repository of the Hub can hold Python files that its configuration names. ``custom_code=true`` runs them, but only
together with ``revision=``: the commit of the repository, whose files never change. For a folder on disk the revision
is the hash of its Python files. Code of a third repository cannot be pinned in this way, and is refused.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quiver.errors import BadSpec

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: The name of a class in another repository.
_ELSEWHERE = re.compile(r"[\w.-]+/[\w.-]+--[\w.]+")
#: Larger JSON files are vocabularies and lists of weights.
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Code:
    """Whether the code of a model may run.

    Attributes:
        model: a folder, or a repository of the Hub.
        allowed: what the user said.
        revision: the commit of the repository, or the hash of a folder's Python files; None for the newest files
            without code.
    """

    model: str
    allowed: bool
    revision: str | None

    @classmethod
    def of(cls, model: str, custom_code: bool, revision: str | None) -> "Code":
        """Check the options of a user.

        Raises:
            BadSpec: the revision is no full commit hash, or there is none though code is to run.
        """
        if revision is not None and not _COMMIT.fullmatch(revision):
            raise BadSpec(
                f"revision must be a commit hash of 40 hexadecimal digits, not {revision!r}: a branch or tag can move"
            )
        code = cls(model, custom_code, revision)
        if custom_code and revision is None:
            if not code.is_folder:
                raise BadSpec(
                    f"custom_code=true runs Python code of {model}: read it, and name the commit that you have read, as"
                    " in custom_code=true revision=COMMIT (40 hexadecimal digits)"
                )
            code.check(Path(model).expanduser())
        if code.is_folder and revision is not None and not custom_code:
            raise BadSpec(f"{model} is a folder and has no commits: leave out revision={revision[:8]}...")
        return code

    @property
    def is_folder(self) -> bool:
        """Whether the model is a folder on disk."""
        return Path(self.model).expanduser().is_dir()

    @property
    def commit(self) -> str | None:
        """The commit to download; None for the newest."""
        return None if self.is_folder else self.revision

    def check(self, folder: Path) -> None:
        """See that the code of a folder is the code that the user pinned, and nothing else.

        Raises:
            BadSpec: the model needs code that was not allowed, that has another hash, or that is in another repository.
        """
        if not self.allowed:
            if needed := list(_own(folder)):
                raise BadSpec(
                    f"{self.model} needs Python code of its own ({needed[0]}), which is never run unasked: read it,"
                    f" then pin it, as in 'sentence_transformers model={self.model} {self._pin(folder)}'"
                )
            return
        if others := sorted({name.partition("--")[0] for name in _elsewhere(folder)}):
            raise BadSpec(
                f"{self.model} takes Python code from another repository, {others[0]}, whose commit cannot be pinned:"
                " copy both into one folder, remove 'owner/name--' from its settings, and give model=FOLDER"
            )
        if self.is_folder and self.revision != (have := hash_of(folder)):
            raise BadSpec(
                f"the Python files of {self.model} have the hash {have}: if you have read them, and they are what you"
                f" want to run, give custom_code=true revision={have}"
            )

    def _pin(self, folder: Path) -> str:
        return f"custom_code=true revision={hash_of(folder) if self.is_folder else 'COMMIT'}"


def hash_of(folder: Path) -> str:
    """Hash the names and contents of all Python files of a folder: 40 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()[:40]


def _own(folder: Path) -> Iterator[str]:
    """List the code without which a model does not load: classes that neither library has."""
    for name in _modules(folder):
        if not name.startswith(("sentence_transformers.", "pylate.")):
            yield name
    config = _read(folder / "config.json")
    if isinstance(config, dict) and config.get("auto_map") and not _known(config.get("model_type")):
        yield from _flat(config["auto_map"])


def _known(kind: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES


def _elsewhere(folder: Path) -> Iterator[str]:
    """List the classes of other repositories that any settings of a model name."""
    for path in sorted(folder.rglob("*.json")):
        if path.stat().st_size <= _LARGEST:
            yield from (text for text in _flat(_read(path)) if _ELSEWHERE.fullmatch(text))


def _modules(folder: Path) -> Iterator[str]:
    listed = _read(folder / "modules.json")
    parts: list[Any] = listed if isinstance(listed, list) else []
    for part in parts:
        if isinstance(part, dict):
            yield str(part.get("type", ""))


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _flat(each)
    elif isinstance(value, list):
        for each in value:
            yield from _flat(each)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever loads the model reports it
        return {}
