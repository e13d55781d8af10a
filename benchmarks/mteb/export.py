"""Quiver's data sets as tasks of mteb, so that its harness measures its models on them.

mteb has no exclusions and no protocols of subsets: a question that has them gets the list of its competing items as
``top_ranked``, as in mteb's reranking tasks. It averages over questions, not over groups of them.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from quiver.benchmarks.metric import parse
from quiver.benchmarks.mteb.media import MODALITIES
from quiver.errors import BadSpec, optional
from quiver.media import fetch, locate, times
from quiver.task import Question, Task, check
from quiver.types import values_of

#: Cutoffs of mteb's measures, to which those of the task are added.
CUTOFFS = (1, 3, 5, 10, 20, 50, 100)
_LETTER = {"text": "t", "image": "i", "audio": "a", "video": "v"}
#: Largest number of competing items over all questions that are listed one by one.
_LISTED = 50_000_000
_ORDER = ("v", "a", "i", "t")  # of letters in a category of mteb, such as it2i


def as_task(task: Task, *, split: str = "test") -> Any:
    """Return a data set as an mteb task (``AbsTaskRetrieval``) with its data loaded.

    ``recall_at_k`` is Quiver's R@k, ``hit_rate_at_k`` its Success@k, both with mteb's order of equal scores.

    Raises:
        BadSpec: mteb cannot express the task: its target is a pair, or its questions differ in kind or have examples,
            conditions or vectors.
    """
    with optional():
        from mteb.abstasks.retrieval import AbsTaskRetrieval
        from mteb.abstasks.task_metadata import TaskMetadata
    check(task)
    keys = _keys(task)
    category = f"{_letters(keys)}2{_LETTER[task.target]}"
    name = re.sub(r"\W+", "", task.name.title()) or "Task"
    plain = category == "t2t"
    metadata = TaskMetadata(
        name=name,
        description=f"{task.name}, exported from Quiver: {task.protocol}",
        dataset={"path": f"quiver/{name}", "revision": task.revision},
        type="Retrieval" if plain else "Any2AnyRetrieval",
        category=category,
        modalities=[key for key in MODALITIES if key in (*keys, task.target)],
        eval_splits=[split],
        eval_langs=["eng-Latn"],
        main_score=_main(task.measures),
        is_public=False,
    )
    cutoffs = {parse(measure).cutoff for measure in task.measures} | set(CUTOFFS)
    members = {"metadata": metadata, "k_values": tuple(sorted(each for each in cutoffs if each))}
    made = type(name, (AbsTaskRetrieval,), members)()
    made.dataset = {"default": {split: _split(task, keys)}}
    made.data_loaded = True
    return made


def _main(measures: Sequence[str]) -> str:
    """Return mteb's name of the headline, if it has the measure."""
    names = {"R": "recall", "Success": "hit_rate", "nDCG": "ndcg", "AP": "map", "RR": "mrr", "P": "precision"}
    spelt = [parse(measure) for measure in measures]
    return next(
        (f"{names[each.kind]}_at_{each.cutoff}" for each in spelt if each.kind in names and each.cutoff), "ndcg_at_10"
    )


def _letters(keys: Sequence[str]) -> str:
    """Return the letters of a category; mteb writes the picture before the text."""
    found = {_LETTER[key] for key in keys}
    return "".join(letter for letter in _ORDER if letter in found)


def _keys(task: Task) -> list[str]:
    if task.target not in MODALITIES:
        raise BadSpec(f"mteb has no {task.target}s: {task.name} cannot be exported")
    kinds = {tuple(key for key in MODALITIES if key in question.query.media) for question in task.questions}
    if len(kinds) != 1:
        said = "; ".join(" and ".join(kind) or "none" for kind in sorted(kinds))
        raise BadSpec(f"mteb's queries have one form, and those of {task.name} differ: {said}")
    for question in task.questions:
        query = question.query
        if query.like or query.unlike or query.vectors or query.where is not None or "before" in query.media:
            raise BadSpec(
                f"{task.name}: question {question.id} has examples, a condition, vectors or a pair, which mteb lacks"
            )
        if len({len(values_of(query.media, key)) for key in query.media} | {1}) > 1:
            raise BadSpec(f"{task.name}: question {question.id} has several values of one medium, which mteb lacks")
    return list(next(iter(kinds)))


def _split(task: Task, keys: Sequence[str]) -> dict[str, Any]:
    """Return mteb's ``RetrievalSplitData``."""
    able = [item for item in task.items if task.target in item.media]
    corpus = _dataset([item.id for item in able], {task.target: [item.media[task.target] for item in able]})
    questions = task.questions
    asked = {key: [values_of(question.query.media, key)[0] for question in questions] for key in keys}
    return {
        "corpus": corpus,
        "queries": _dataset([question.id for question in questions], asked),
        "relevant_docs": {question.id: _relevant(question) for question in questions},
        "top_ranked": _competing(questions, [item.id for item in able]),
    }


def _relevant(question: Question) -> dict[str, int]:
    """Return the right answers that compete."""
    inside = None if question.candidates is None else set(question.candidates)
    out = set(question.exclude)
    return {id: grade for id, grade in question.relevant.items() if id not in out and (inside is None or id in inside)}


def _competing(questions: Sequence[Question], ids: Sequence[str]) -> dict[str, list[str]] | None:
    """Return the competing items of every question; None if all items compete for all of them.

    Raises:
        BadSpec: the lists are too long.
    """
    if not any(question.exclude or question.candidates is not None for question in questions):
        return None
    count = sum(len(ids if question.candidates is None else question.candidates) for question in questions)
    if count > _LISTED:
        raise BadSpec(f"mteb takes exclusions as lists of what competes: {count:,} entries here, more than {_LISTED:,}")
    known = set(ids)
    found = {}
    for question in questions:
        out = set(question.exclude)
        inside = ids if question.candidates is None else question.candidates
        found[question.id] = [id for id in inside if id not in out and id in known]
    return found


def _dataset(ids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return a ``datasets.Dataset``; sounds and videos are decoded by torchcodec, if it is there."""
    with optional():
        import datasets
    from importlib.util import find_spec

    decode = find_spec("torchcodec") is not None
    kinds = {
        "text": datasets.Value("string"),
        "image": datasets.Image(),
        "audio": datasets.Audio(decode=decode),
        "video": datasets.Video(decode=decode),
    }
    features = datasets.Features({"id": datasets.Value("string"), **{key: kinds[key] for key in columns}})
    written = {key: list(values) if key == "text" else list(map(_file, values)) for key, values in columns.items()}
    return datasets.Dataset.from_dict({"id": list(ids), **written}, features=features)


def _file(source: Any) -> dict[str, Any]:
    """Return a file as mteb stores it: its path, or its bytes if it is a part of another file.

    Raises:
        BadSpec: it is a moment of a film or sound.
    """
    if isinstance(source, bytes):
        return {"path": None, "bytes": source}
    if times(source)[0] != os.fspath(source):
        raise BadSpec(f"{source} is a moment of a file, which mteb lacks")
    path, offset, size = locate(source)
    if offset or size is not None:
        return {"path": None, "bytes": fetch(source)}
    return {"path": os.path.abspath(path), "bytes": None}
