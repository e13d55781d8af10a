"""The Java programs of the coco-caption code: the Penn Treebank tokenizer, METEOR 1.5 and SPICE.

They come with the package pycocoevalcap, but for the language model files of SPICE, which are downloaded once.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from quiver.errors import MissingExtra, QuiverError, optional

#: Files that SPICE needs and the package does not have.
_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_UTF8 = "-Dfile.encoding=UTF-8"  # whatever the locale
#: SPICE's serialiser looks into classes of the runtime, which Java 16 and later forbid by default.
_OPEN = [f"--add-opens=java.base/{part}=ALL-UNNAMED" for part in ("java.lang", "java.math", "java.util", "java.net")]


class Unavailable(QuiverError):
    """A Java program cannot run here; the message says why and what to do."""


def java() -> str | None:
    """Return the path of the Java program, by PATH or JAVA_HOME; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java") or (shutil.which("java", path=str(Path(home) / "bin")) if home else None)


def version() -> str | None:
    """Return the version of Java, such as ``17.0.15``; None where it is missing or does not run."""
    program = java()
    if program is None:
        return None
    try:
        ran = subprocess.run([program, "-version"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    quoted = (ran.stderr + ran.stdout).split('"')
    return quoted[1] if len(quoted) > 1 else "unknown"


def missing(measure: str) -> str | None:
    """Say why METEOR or SPICE cannot be computed here, and what to do; None where they can."""
    try:
        _program()
        if measure == "SPICE":
            _check_models()
    except (Unavailable, MissingExtra) as why:
        return str(why)
    return None


def tokenize(texts: Sequence[str]) -> list[str]:
    """Cut texts by the rules of the Penn Treebank, lower-case, without punctuation.

    Raises:
        Unavailable: there is no Java, or it fails.
        MissingExtra: pycocoevalcap is not installed.
    """
    program, folder = _program(), _folder("tokenizer")
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    jar = str(folder / STANFORD_CORENLP_3_4_1_JAR)
    lines = "".join(" ".join(text.split()) + "\n" for text in texts)
    command = [program, _UTF8, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
    ran = _run([*command, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"], given=lines)
    found = ran.removesuffix("\n").split("\n")
    if len(found) != len(texts):
        raise Unavailable(f"the tokenizer returned {len(found)} lines for {len(texts)} texts")
    return [" ".join(word for word in line.split() if word not in PUNCTUATIONS) for line in found]


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Return METEOR of the set and of each caption.

    Args:
        captions: words with blanks between them.
        references: of each caption, likewise.

    Raises:
        Unavailable: there is no Java, or it fails.
        MissingExtra: pycocoevalcap is not installed.
    """
    program, folder = _program(), _folder("meteor")
    command = [program, "-Xmx2G", _UTF8, "-jar", str(folder / "meteor-1.5.jar"), "-", "-", "-stdio"]
    command += ["-l", "en", "-norm"]
    asked = [" ||| ".join(("SCORE", *own, said)) for said, own in zip(captions, references, strict=True)]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )
    assert running.stdin is not None and running.stdout is not None
    try:
        statistics = [_answer(running.stdin, running.stdout, line) for line in asked]  # both pipes are finite
        first = _answer(running.stdin, running.stdout, " ||| ".join(("EVAL", *statistics)))
        each = [float(first), *(float(running.stdout.readline()) for _ in asked[1:])]
        return float(running.stdout.readline()), each
    except (OSError, ValueError) as error:
        raise Unavailable(f"METEOR's Java program stopped ({error}): is there 2 GB of memory?") from error
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
        with suppress(OSError):  # the program may have ended before it read everything
            running.stdin.close()


def _answer(given: IO[str], found: IO[str], line: str) -> str:
    given.write(line + "\n")
    given.flush()
    return found.readline().strip()


def spice(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Return SPICE (F1) of the set, which is the mean, and of each caption.

    Raises:
        Unavailable: Java or the model files are missing, or it fails.
        MissingExtra: pycocoevalcap is not installed.
    """
    program, folder = _program(), _folder("spice")
    _check_models()
    rows = [
        {"image_id": place, "test": said, "refs": list(own)}
        for place, (said, own) in enumerate(zip(captions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as place:
        given, result = Path(place) / "given.json", Path(place) / "result.json"
        given.write_text(json.dumps(rows), encoding="utf-8")
        command = [program, *_OPEN, _UTF8, "-Xmx8G", "-jar", str(folder / "spice-1.0.jar"), str(given)]
        _run([*command, "-out", str(result), "-subset", "-silent"])
        found: list[dict[str, Any]] = json.loads(result.read_text(encoding="utf-8"))
    by_place = {int(row["image_id"]): float(row["scores"]["All"]["f"]) for row in found}
    each = [by_place[number] for number in range(len(rows))]
    return sum(each) / len(each), each


def _program() -> str:
    _folder("")
    program = java()
    if program is None:
        raise Unavailable("no Java: install one (JRE 8 or later) and put it on PATH, or set JAVA_HOME")
    return program


def _folder(part: str) -> Path:
    """Return a folder of the package."""
    with optional():
        import pycocoevalcap.eval
    return Path(pycocoevalcap.eval.__file__).parent / part


def _check_models() -> None:
    place = _folder("spice") / "lib"
    if absent := [name for name in _MODELS if not (place / name).is_file()]:
        download = "python -m pycocoevalcap.spice.get_stanford_models"
        raise Unavailable(f"SPICE needs {absent[0]} in {place}: run {download} once, online")


def _run(command: Sequence[str], *, given: str = "") -> str:
    try:
        ran = subprocess.run(command, input=given, capture_output=True, text=True, encoding="utf-8", check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines() or ["no message"]
        raise Unavailable(f"a Java program failed: {last[-1][:200]}") from error
    except OSError as error:
        raise Unavailable(f"Java does not run: {error}") from error
    return ran.stdout
