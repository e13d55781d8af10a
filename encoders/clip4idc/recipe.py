"""Settings of a training, and three sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from quiver.encoders._patch.extract import Extractor
from quiver.encoders._train import Loop
from quiver.encoders.clip4idc.caption_config import Duda, Writer
from quiver.encoders.clip4idc.caption_recipe import Captioning
from quiver.encoders.clip4idc.config import Config
from quiver.errors import BadSpec

#: Begins a setting ``image`` that names a frozen network.
TOKENS = "tokens:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Patches that are features of a frozen network; without meaning where the model starts from a CLIP.

    Attributes:
        view: whether a CNN looks at the cells of the grid one by one, or once at the whole picture, and its map is
            averaged over the cells.
        size: side of what the CNN looks at, in pixels.
        side: cells are resized to this square, in pixels, where patches are pixels.
        rows: of the grid.
        columns: of the grid.
    """

    view: Literal["cells", "averaged"] = "averaged"
    size: int = 224
    side: int = 8
    rows: int = 7
    columns: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        distractors: share of the pairs with a distractor (column ``distractor``: the state before, seen from
            elsewhere) whose picture before is replaced by it.
        cache: where features of frozen networks are kept; none for ``features`` in the folder of the run.

    Raises:
        BadSpec: the share is not between 0 and 1.
    """

    distractors: float = 0.5
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.distractors <= 1:
            raise BadSpec(f"clip4idc: data.distractors must be from 0 to 1, not {self.distractors}")


#: New parameters learn at the full rate, those of the CLIP at a thousandth of it.
_SCALES = (
    "pairs.=1e-3,sentences.=1e-3,scale=1e-3,pairs.before=1,pairs.after=1,pairs.joint=1,pairs.ln_mid=1"  # as published
)


def _loop() -> Loop:
    return Loop(
        epochs=12.0,
        batch=128,
        rate=1e-4,
        warmup_share=0.1,
        beta2=0.98,
        eps=1e-6,
        decay=0.2,
        clip=1.0,
        scales=_SCALES,
        validations=12,
        save_every=1000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        name: the space is called clip4idc/NAME; none for the name of the folder of the run.
        image: what the encoder of pairs starts from: an open_clip model, whose weights and sizes it takes, as in
            "open_clip model=ViT-B-32 pretrained=openai"; or a frozen network whose features are its patches, as in
            "tokens:timm model=mobilenetv2_100", or "tokens:pixels".
        text: a frozen encoder of sentences, as in "sentence_transformers model=all-MiniLM-L6-v2"; empty for a text
            tower: that of the CLIP, or one that starts from nothing.
        freeze: whether everything below the first block stays as the CLIP has it.
        grid: patches of a frozen network.
        model: sizes; a CLIP brings its own, but for model.vision.intra and model.text.length.
        data: training data.
        loop: how it is optimised.
        caption: stage two, a generator of sentences about changes.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    #: Values of settings that older versions did not have, by which their runs go on.
    EARLIER: ClassVar[Mapping[str, Any]] = {"model.vision.change": 0, "model.vision.relative": False}

    name: str | None = None
    image: str = "open_clip model=ViT-B-32 pretrained=openai"
    text: str = ""
    freeze: bool = True
    grid: Grid = field(default_factory=Grid)
    model: Config = field(default_factory=Config)
    data: Data = field(default_factory=Data)
    loop: Loop = field(default_factory=_loop)
    caption: Captioning = field(default_factory=Captioning)

    def __post_init__(self) -> None:
        self.loop.check_steps()
        if not self.image.startswith((TOKENS, "open_clip ")):
            raise BadSpec(
                f"clip4idc: image={self.image!r} is neither an open_clip model with weights, nor {TOKENS}NETWORK"
            )
        _ = self.extractor  # which checks the grid

    @property
    def extractor(self) -> Extractor | None:
        """How a frozen network gives patches; None where the model starts from a CLIP."""
        if not self.image.startswith(TOKENS):
            return None
        grid = self.grid
        return Extractor(
            features=self.image.removeprefix(TOKENS),
            view=grid.view,
            size=grid.size,
            side=grid.side,
            rows=grid.rows,
            columns=grid.columns,
        )


#: ``paper``: adaptation on CLEVR-Change, as published (batch over all ranks: set loop.batch=128/ranks; Spot-the-Diff
#: had 20 epochs); BertAdam's clip of each parameter and its missing bias correction are left out. ``cpu`` is ours, for
#: thousands of pairs on a small machine: hundreds it learns by heart, see the README. ``tiny`` is for tests, and learns
#: a few pairs by heart in seconds.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cpu": Recipe(
        image="tokens:timm model=mobilenetv2_100",
        grid=Grid(size=160, rows=5, columns=5),
        model=Config.cpu(),
        loop=Loop(steps=1500, batch=128, rate=1e-3, warmup=50, decay=0.1, clip=1.0, validations=10, save_every=150),
        caption=Captioning(
            batch=64,
            rate=1e-3,
            encoder=0.3,
            length=24,
            writer=Writer(width=128, heads=4, inner=256, layers=2),
            duda=Duda(dim=64, groups=16, embed=128, hidden=128, word=64),
        ),
    ),
    "tiny": Recipe(
        image="tokens:pixels",
        grid=Grid(side=4, rows=2, columns=2),
        model=Config.tiny(),
        loop=Loop(steps=100, batch=16, rate=5e-3, warmup=5, validations=2),
        caption=Captioning(
            batch=16,
            rate=5e-3,
            encoder=1.0,
            length=16,
            writer=Writer(width=32, heads=2, inner=48, layers=1, dropout=0.0),
            duda=Duda(dim=16, groups=4, embed=24, hidden=32, word=16, dropout=0.0),
        ),
    ),
}
