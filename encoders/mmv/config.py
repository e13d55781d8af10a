"""Configuration of an MMV model: towers, graph, widths, and lengths of its inputs.

A config is flat and of JSON scalars, so that ``config.json`` beside the weights describes the model completely.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

from quiver.errors import BadSpec

Graph = Literal["shared", "disjoint", "fac"]

GRAPHS: tuple[Graph, ...] = ("shared", "disjoint", "fac")
MODALITIES = ("video", "audio", "text")
#: Fields that name the encoders of ``features`` towers.
SPECS = tuple(f"{modality}_spec" for modality in MODALITIES)
#: Towers that are trained together with the heads; ``features:WIDTH`` stands for any other encoder's output.
TOWERS = {
    "video": ("s3d", "tsm50", "tsm50x2", "tsm_small"),
    "audio": ("resnet18", "resnet50", "resnet_small", "yamnet"),
    "text": ("words",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One model. The defaults are those of the paper's largest setting with S3D-G, and of its released weights.

    Attributes:
        graph: which spaces there are: ``shared`` (one), ``disjoint`` (two, unconnected) or ``fac`` (fine and coarse).
        video: ``s3d``, ``tsm50``, ``tsm50x2``, ``tsm_small``, ``features:WIDTH``, or None for sound and text alone.
        audio: ``resnet18``, ``resnet50``, ``resnet_small``, ``yamnet`` (which hears the sound itself, at 16 kHz),
            ``features:WIDTH``, or None for no sound.
        text: ``words``, ``features:WIDTH``, or None for no text.
        video_spec: the encoder whose vectors a ``features`` tower takes, such as ``timm model=mobilenetv2_100``.
        audio_spec: likewise.
        text_spec: likewise.
        space_to_depth: fold 2x2x2 pixels into channels before ``s3d``, as its released weights want.
        hidden: width inside the video head.
        va: width of the space of video and audio; of the fine one in ``fac``.
        vt: width of the space of video and text in ``disjoint``.
        vat: width of the space of all three: the coarse one in ``fac``, the only one in ``shared``.
        unit: scale fine vectors to length sqrt(va) before the coarse head, so that a stored unit vector is enough to
            go from fine to coarse. Ours; the paper's head takes them as they are. Only ``fac`` has that head.
        frames: of a clip.
        fps: frames per second.
        shorter: the frames' shorter side after resizing, in pixels.
        size: side of the square crop, in pixels.
        rate: of the sound, in Hz.
        seconds: length of the sound, as long as the clip.
        bands: mel bands.
        window: of the spectrogram, in samples.
        hop: likewise.
        low: lowest frequency of the mel bands, in Hz.
        high: highest, in Hz.
        minmax: scale each spectrogram to 0..1, so that loudness does not matter; what MMV itself did is not known.
        pool: what becomes of the patches of ``yamnet``: their ``mean``, or the ``max`` of each feature, which lets a
            short event in a long sound count.
        max_words: of a text that count; the rest is cut off, and a shorter text is padded.
        word_width: of the table of word vectors.
        word_hidden: width of the text tower.
        temperature: by which cosines are divided in the losses.
        weight_va: of the loss between video and audio.
        weight_vt: of the loss between video and text. Whether the paper's 10:1 for HowTo100M alone means this one or
            the other is not known.
        weight_at: of a loss between audio and text, which the paper does not have: it relies on video to join them.
            What has no video needs it.
        count_positive_twice: have the positive pair twice in the denominator, as public implementations do.
    """

    graph: Graph = "fac"
    video: str | None = "s3d"
    audio: str | None = "resnet50"
    text: str | None = "words"
    video_spec: str | None = None
    audio_spec: str | None = None
    text_spec: str | None = None
    space_to_depth: bool = False
    hidden: int = 512
    va: int = 512
    vt: int = 512
    vat: int = 256
    unit: bool = False
    frames: int = 32
    fps: float = 10.0
    shorter: int = 224
    size: int = 200
    rate: int = 48_000
    seconds: float = 3.2
    bands: int = 80
    window: int = 2048
    hop: int = 1024
    low: float = 80.0
    high: float = 7600.0
    minmax: bool = True
    pool: Literal["mean", "max"] = "mean"
    max_words: int = 16
    word_width: int = 300
    word_hidden: int = 2048
    temperature: float = 0.07
    weight_va: float = 1.0
    weight_vt: float = 1.0
    weight_at: float = 0.0
    count_positive_twice: bool = False

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS:
            raise BadSpec(f"mmv graph must be one of {', '.join(GRAPHS)}, not {self.graph!r}")
        for modality in MODALITIES:
            self._check_tower(modality)
        if len(self.modalities) < 2:
            raise BadSpec("mmv needs two of video, audio and text: one alone has nothing to be compared with")
        self._check_sound_and_text()
        if self.unit and self.graph != "fac":
            raise BadSpec(f"mmv unit=true concerns the coarse head, which the {self.graph} graph does not have")
        if self.space_to_depth and self.video != "s3d":
            raise BadSpec(f"mmv space_to_depth=true concerns video=s3d, not {self.video}")
        if self.pool not in ("mean", "max"):
            raise BadSpec(f"mmv pool must be mean or max, not {self.pool!r}")
        if self.audio == "yamnet" and self.rate != 16_000:
            raise BadSpec(f"mmv audio=yamnet hears at rate=16000, not {self.rate}")
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name.startswith("weight") else 1e-9
            if field.type in {int, float} and not value >= least:
                raise BadSpec(f"mmv {field.name} must be {'at least 0' if least == 0 else 'positive'}, not {value}")

    def _check_sound_and_text(self) -> None:
        both = self.audio is not None and self.text is not None
        if self.weight_at and (self.graph == "disjoint" or not both):
            raise BadSpec("mmv weight_at compares audio and text: it needs both, and a graph in which they meet")
        if self.video is None and not self.weight_at:
            raise BadSpec("mmv video=none learns from audio and text alone: give weight_at=1, and no graph=disjoint")

    def _check_tower(self, modality: str) -> None:
        tower, spec = getattr(self, modality), getattr(self, f"{modality}_spec")
        ready = tower is not None and tower.startswith("features:")
        if ready and self.width(modality) < 1:
            raise BadSpec(f"mmv {modality}={tower}: write features:WIDTH, such as features:512")
        if not ready and spec is not None:
            raise BadSpec(f"mmv {modality}_spec={spec!r} is of use with {modality}=features:WIDTH, not with {tower}")
        if not ready and tower not in TOWERS[modality] and tower is not None:
            known = ", ".join(TOWERS[modality])
            raise BadSpec(f"mmv {modality} must be {known} or features:WIDTH, not {tower!r}")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those it has a tower for, in the order video, audio, text."""
        return tuple(modality for modality in MODALITIES if getattr(self, modality) is not None)

    def width(self, modality: str) -> int:
        """Return the width a ``features`` tower passes on; 0 where the tower is a network, or its width no number."""
        name, _, width = (getattr(self, modality) or "").partition(":")
        return int(width) if name == "features" and width.isdecimal() else 0

    @classmethod
    def paper(cls, graph: Graph = "fac") -> "Config":
        """Return the paper's model with S3D-G; its one shared space is 512 wide, its coarse one 256."""
        return cls(graph=graph, vat=512 if graph == "shared" else 256)

    @classmethod
    def cpu(cls, graph: Graph = "fac") -> "Config":
        """Return a model that trains on a CPU: ours, with all the parts of the paper's."""
        small = cls(
            video="tsm_small",
            audio="resnet_small",
            hidden=128,
            va=128,
            vt=128,
            vat=64,
            unit=True,
            frames=8,
            fps=2.5,
            shorter=54,
            size=48,
            rate=16_000,
            bands=40,
            window=1024,
            hop=512,
            max_words=16,
            word_width=64,
            word_hidden=256,
        )
        return small if graph == "fac" else replace(small, graph=graph, unit=False, vat=128)

    @classmethod
    def tiny(cls, graph: Graph = "fac") -> "Config":
        """Return the smallest model with all parts, for tests."""
        small = replace(cls.cpu(graph), hidden=16, va=16, vt=16, vat=8 if graph == "fac" else 16)
        clip = replace(small, frames=4, fps=4.0, shorter=18, size=16, seconds=1.0)
        sound = replace(clip, rate=4000, bands=16, window=256, hop=128, high=1900.0)
        return replace(sound, max_words=6, word_width=8, word_hidden=16)
