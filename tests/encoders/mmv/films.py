"""Small films with sound and texts, made on the spot; grey and pitch tell which is which."""

from pathlib import Path

import av
import numpy as np
import soundfile

from quiver.task import Question, Task
from quiver.types import Item, Query

FPS, RATE = 8, 8000


def write_film(folder: Path, number: int, *, seconds: float = 1.0, side: int = 24) -> dict[str, str]:
    """Write a video whose frame f has the grey 25 * number + 2 * f, and a sound of 100 * (number + 1) Hz."""
    video, audio = folder / f"{number}.mp4", folder / f"{number}.wav"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = side + 8, side, "yuv444p"
        for frame in range(round(seconds * FPS)):
            grey = np.full((side, side + 8, 3), 25 * number + 2 * frame, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(audio, 0.5 * np.sin(2 * np.pi * 100 * (number + 1) * times), RATE)
    return {"video": str(video), "audio": str(audio)}


def film_task(folder: Path, *, count: int = 6, seconds: float = 1.0) -> Task:
    """Make a task: two captions of each film, and one line for every two films, nearer to the first of them."""
    folder.mkdir(exist_ok=True)
    words = ("red dog", "green cat", "blue bird", "grey mouse", "white horse", "black bear", "pink pig", "gold fish")
    items = [
        Item(f"film{n}", write_film(folder, n, seconds=seconds), {"source_id": f"reel{n // 2}"}) for n in range(count)
    ]
    questions = []
    for n in range(count):
        for number, text in enumerate((f"a {words[n]}", f"the {words[n]} is running")):
            questions.append(_said(f"caption{n}.{number}", text, {f"film{n}": 5}))
    for n in range(0, count, 2):
        questions.append(_said(f"line{n}", f"look {n}", {f"film{n}": 4, f"film{n + 1}": 3}))
    return Task(
        name="films",
        revision=f"{count} {seconds}",
        items=items,
        questions=questions,
        measures=("Success@1",),
        target="video",
        protocol="texts to films",
        source="made by the test",
    )


def _said(id: str, text: str, relevant: dict[str, int]) -> Question:
    return Question(id=id, query=Query(media={"text": text}, target="video"), relevant=relevant)
