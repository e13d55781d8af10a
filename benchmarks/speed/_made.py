"""Media, tasks and weights that need no download: noise of a fixed seed, for measurements of speed."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from quiver.task import Question, Task
from quiver.types import Item, Query

#: Distinct pictures and films that are made; rows repeat them.
MADE = 16


def _pictures(folder: Path, side: int) -> list[str]:
    """Return the paths of ``MADE`` pictures of noise in blocks."""
    from PIL import Image

    paths = [str(folder / f"{number}.jpg") for number in range(MADE)]
    if folder.is_dir():  # they were made before
        return paths
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for path in paths:
        blocks = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((side // 8, side // 8, 1), np.uint8))).save(path)
    return paths


def _films(folder: Path, side: int) -> list[str]:
    """Return the paths of ``MADE`` films of four seconds with a tone."""
    import av

    paths = [str(folder / f"{number}.mp4") for number in range(MADE)]
    if folder.is_dir():  # they were made before
        return paths
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number, path in enumerate(paths):
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 2 * side, 2 * side, "yuv420p"
            voice = container.add_stream("aac", rate=48_000, layout="mono")
            for _ in range(40):
                picture = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((side // 4, side // 4, 1))).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            tone = np.sin(np.arange(4 * 48_000) * (0.02 + 0.01 * number)).astype(np.float32)[None] / 2
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
            container.mux(stream.encode(None))
    return paths


def _task(name: str, items: Sequence[Item], questions: Sequence[Question], target: str) -> Task:
    return Task(name, "0", items, questions, ("Success@1",), target, "all compete", "made here")


def _text(number: int) -> str:
    return f"product {number} in colour {number % 7} of kind {number % 3}"


def _products(folder: Path, rows: int, side: int) -> Task:
    paths = _pictures(folder / "pictures", side)
    items = [Item(str(n), {"image": paths[n % MADE]}, {"category": f"kind {n % 3}"}) for n in range(rows)]
    questions = [Question(f"q{n}", Query({"text": _text(n)}, target="image"), {str(n): 1}) for n in range(rows)]
    return _task("products", items, questions, "image")


def _composed(folder: Path, rows: int, side: int) -> Task:
    paths = _pictures(folder / "pictures", side)
    items = [Item(str(n), {"image": path}) for n, path in enumerate(paths)]
    questions = []
    for n in range(rows):
        held, target, *others = ((n + step) % MADE for step in (0, 1, 3, 5, 7, 9))
        grades = {str(target): 10, str(others[0]): 10, str(others[1]): 5}
        query = Query({"image": paths[held], "text": _text(n)}, target="image")
        questions.append(
            Question(f"q{n}", query, grades, exclude=(str(held),), candidates=tuple(map(str, (target, *others))))
        )
    return _task("composed", items, questions, "image")


def _pairs(folder: Path, rows: int, side: int) -> Task:
    paths = _pictures(folder / "pictures", side)
    media = [{"before": paths[n % MADE], "after": paths[(n + 1 + n // MADE) % MADE]} for n in range(rows)]
    items = [Item(str(n), each) for n, each in enumerate(media)]
    questions = [
        Question(f"q{n}", Query({"text": f"the {_text(n)} moved"}, target="pair"), {str(n): 1}) for n in range(rows)
    ]
    return _task("pairs", items, questions, "pair")


def _clips(folder: Path, rows: int, side: int) -> Task:
    paths = _films(folder / "films", side)
    items = [Item(str(n), {"video": paths[n % MADE], "audio": paths[n % MADE]}) for n in range(rows)]
    questions = [
        Question(f"q{n}", Query({"text": f"look at the {_text(n)}"}, target="video"), {str(n): 1}) for n in range(rows)
    ]
    return _task("films", items, questions, "video")


def _stills(folder: Path, rows: int, side: int) -> Task:
    paths, films = _pictures(folder / "pictures", side), _films(folder / "films", side)
    items = [Item(str(n), {"video": film}, {"activity": f"a{n % 4}"}) for n, film in enumerate(films)]
    questions = []
    for n in range(rows):
        right = {str(other): 1 for other in range(MADE) if other % 4 == n % 4}
        questions.append(Question(f"q{n}", Query({"image": paths[n % MADE]}, target="video"), right))
    return _task("stills", items, questions, "video")


#: Makes a task: given a folder, rows, and the side of pictures in pixels.
TASKS: Mapping[str, Callable[[Path, int, int], Task]] = {
    "products": _products,
    "composed": _composed,
    "pairs": _pairs,
    "films": _clips,
    "stills": _stills,
}


def write_bert(folder: Path, *, small: bool) -> None:
    """Write a BERT with random weights: of two layers of 32, or base."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    folder.mkdir(parents=True, exist_ok=True)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "product",
        "in",
        "colour",
        "of",
        "kind",
        *map(str, range(10)),
    ]
    words += [f"##{digit}" for digit in range(10)]
    words += [f"[unused{number}]" for number in range(len(words), 64 if small else 30_522)]
    (folder / "vocab.txt").write_text("\n".join(words))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BertForPreTraining(BertConfig(vocab_size=len(words), **(sizes if small else {})))
    network.save_pretrained(folder)


def write_clip(folder: Path, *, small: bool) -> None:
    """Write a CLIP with random weights as OpenCLIP publishes it: of three layers of 32, or ViT-B-32."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    tiny = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 3, "width": 32, "head_width": 16},
        "text_cfg": {"layers": 2, "width": 32, "heads": 2},
    }
    config = tiny if small else open_clip.get_model_config("ViT-B-32")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {name: each.contiguous() for name, each in open_clip.CLIP(**config).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
