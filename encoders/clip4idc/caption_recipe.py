"""Settings of stage two, captioning."""

from dataclasses import dataclass, field
from typing import Literal

from quiver.encoders._train import Phase
from quiver.encoders.clip4idc.caption_config import Duda, Writer
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioning(Phase):
    """Stage two: a generator of sentences about changes.

    Attributes:
        steps: updates; 0 leaves this stage out.
        generator: ``clip4idc``, or ``duda``, which needs features of a frozen network and no stage one.
        adapted: whether the encoder of pairs starts from stage one; otherwise as stage one started.
        encoder: factor of the rate for the encoder of pairs; 0 keeps it as it is.
        length: most ids of a sentence, begin and end included.
        attention: of DUDA, weight of the sum of its attention maps, for changed pairs.
        validate_on: most pairs of the validation part that are captioned at each validation.
        writer: sizes of CLIP4IDC's generator.
        duda: sizes of DUDA.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    steps: int = 0
    batch: int = 16
    rate: float = 1e-4
    generator: Literal["clip4idc", "duda"] = "clip4idc"
    adapted: bool = True
    encoder: float = 1e-3
    length: int = 32
    attention: float = 2.5e-3
    validate_on: int = 1000
    writer: Writer = field(default_factory=Writer)
    duda: Duda = field(default_factory=Duda)

    def __post_init__(self) -> None:
        Phase.__post_init__(self)
        if self.encoder < 0 or self.attention < 0:
            raise BadSpec("clip4idc: caption.encoder and caption.attention must be at least 0")
        if self.length < 3 or self.validate_on < 2:
            raise BadSpec("clip4idc: caption.length must be at least 3, and caption.validate_on at least 2")
