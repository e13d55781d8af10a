"""What the tests do with the tiny models that stand one floor up."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from quiver.encoders.transformers import load

TEXTS = ["a red ball", "Two dogs run over the green grass while it rains", "x"]


def opened(folder, **options):
    return load(model=str(folder), device="cpu", **options)


def picture(height=61, width=90, seed=0):
    """Smooth colours with some noise, as in a photograph."""
    noise = np.random.default_rng(seed)
    coarse = Image.fromarray(noise.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + noise.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def sound(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def embedded(encoder, key, sources):
    reader = encoder.reader(key)
    return encoder.embed(key, [reader(source) for source in sources], *encoder.spaces(key))


def unit(rows):
    rows = torch.as_tensor(rows).double()
    return (rows / rows.norm(dim=-1, keepdim=True)).numpy()


def processed(folder, pictures, **options):
    processor = transformers.AutoImageProcessor.from_pretrained(folder, **options)
    return processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, write_transformers):
    """Return folder(kind), what ``write_transformers`` offers and what stands above."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = write_transformers.build[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return SimpleNamespace(
        **vars(write_transformers),
        folder=folder,
        texts=TEXTS,
        opened=opened,
        picture=picture,
        sound=sound,
        embedded=embedded,
        unit=unit,
        processed=processed,
    )
