"""The embedding graphs of MMV: which spaces there are, and which heads lead there.

Alayrac et al. 2020, arXiv:2006.16228. Reference: google-deepmind/deepmind-research, mmv/models/mm_embeddings.py,
Apache-2.0.
Deviates: the reference also builds heads between audio and text that no loss trains, and so answers questions that
have no answer; here such a path does not exist. In ``shared`` its head for video runs twice a step, ours once.

``shared``::    video, audio, text -> vat                three heads, one space
``disjoint``::  video, audio -> va;  video, text -> vt   four heads, two spaces with no path between audio and text
``fac``::       video, audio -> va -> vat;  text -> vat  fine and coarse: what is in va reaches text through vat

Shapes: B rows, F features of a tower, D width of a space.
"""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.head import CoarseHead, VideoHead
from quiver.errors import NoRoute

#: The heads on the way from a modality to a space, in order; spaces finest first.
PATHS: Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "shared": {
        "video": {"vat": ("video_vat",)},
        "audio": {"vat": ("audio_vat",)},
        "text": {"vat": ("text_vat",)},
    },
    "disjoint": {
        "video": {"va": ("video_va",), "vt": ("video_vt",)},
        "audio": {"va": ("audio_va",)},
        "text": {"vt": ("text_vt",)},
    },
    "fac": {
        "video": {"va": ("video_va",), "vat": ("video_va", "va_vat")},
        "audio": {"va": ("audio_va",), "vat": ("audio_va", "va_vat")},
        "text": {"vat": ("text_vat",)},
    },
}
#: The space in which two modalities are compared in training.
TRAINED: Mapping[str, Mapping[tuple[str, str], str]] = {
    "shared": {("video", "audio"): "vat", ("video", "text"): "vat", ("audio", "text"): "vat"},
    "disjoint": {("video", "audio"): "va", ("video", "text"): "vt"},
    "fac": {("video", "audio"): "va", ("video", "text"): "vat", ("audio", "text"): "vat"},
}


def trained(config: Config, modalities: Collection[str]) -> dict[tuple[str, str], str]:
    """Return the space of each pair of some modalities that the losses of a model compare."""
    return {
        (one, other): space
        for (one, other), space in TRAINED[config.graph].items()
        if {one, other} <= set(modalities) and (one == "video" or config.weight_at)
    }


class Graph(nn.Module):
    """The heads of one graph.

    Args:
        config: of the model; a space that none of its losses trains is left out.
        widths: of the features of each modality the model has a tower for.
    """

    def __init__(self, config: Config, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.config = config
        compared = trained(config, widths)
        homes = set(compared.values())
        self._paths = {
            modality: {space: path for space, path in PATHS[config.graph][modality].items() if space in homes}
            for modality in widths
        }
        self._idle = () if ("audio", "text") in compared else ("audio",)
        needed = dict.fromkeys(head for paths in self._paths.values() for path in paths.values() for head in path)
        self.heads = nn.ModuleDict({head: _head(head, config, widths) for head in needed})

    def spaces(self, modality: str) -> tuple[str, ...]:
        """Return the spaces that a modality is embedded into, finest first; () if the model lacks it."""
        return tuple(self._paths.get(modality, ()))

    def dim(self, space: str) -> int:
        """Return the width of a space."""
        return int(getattr(self.config, space))

    def common(self, one: str, other: str) -> tuple[str, ...]:
        """Return the spaces in which two modalities may be compared, finest first.

        Raises:
            NoRoute: there is none; the message names the arrows that are missing.
        """
        shared = tuple(space for space in self.spaces(one) if space in self.spaces(other))
        if not shared:
            raise NoRoute(f"the {self.config.graph} graph of mmv {self._missing(one, other)}")
        return shared

    def project(self, modality: str, features_BF: Tensor, space: str) -> Tensor:
        """Map a tower's features (B, F) into a space (B, D), not normalised.

        Raises:
            NoRoute: the modality does not reach that space.
        """
        if space not in self.spaces(modality):
            raise NoRoute(f"the {self.config.graph} graph of mmv has no arrow from {modality} to {space}")
        for head in self._paths[modality][space]:
            features_BF = self.heads[head](features_BF)
        return features_BF

    def bridge(self, unit_BD: Tensor) -> Tensor:
        """Map fine vectors of unit length (B, va) to coarse ones (B, vat), as ``project`` would have done.

        Raises:
            NoRoute: the graph has no fine space, or its coarse head needs the length that unit vectors lost.
        """
        if "va" not in (*self.spaces("video"), *self.spaces("audio")) or "va_vat" not in self.heads:
            raise NoRoute(f"the {self.config.graph} graph of this mmv model has no arrow from va to vat")
        if not self.config.unit:
            raise NoRoute("this mmv model has unit=false: a unit vector of va does not determine that of vat")
        return self.heads["va_vat"](unit_BD)

    def forward(self, features: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Map the features of each modality, (B, F), into all its spaces, (B, D) by modality and space.

        In training audio is not sent through the coarse head of ``fac`` unless a loss asks for it: it would enter the
        running statistics that are video's there.
        """
        made: dict[tuple[str, ...], Tensor] = {}
        out: dict[tuple[str, str], Tensor] = {}
        for modality, features_BF in features.items():
            for space, path in self._paths[modality].items():
                if self.training and modality in self._idle and len(path) > 1:
                    continue
                for length in range(1, len(path) + 1):  # what va and vat have in common runs once
                    if path[:length] not in made:
                        given = made[path[: length - 1]] if length > 1 else features_BF
                        made[path[:length]] = self.heads[path[length - 1]](given)
                out[modality, space] = made[path]
        return out

    def _missing(self, one: str, other: str) -> str:
        absent = [modality for modality in (one, other) if not self.spaces(modality)]
        if absent:
            return f"has no {absent[0]}: this model was built without it"
        lacks = [f"from {a} to {space}" for a, b in ((one, other), (other, one)) for space in self.spaces(b)]
        return f"joins {one} and {other} in no space: there is no arrow {' and none '.join(lacks)}"


def _head(name: str, config: Config, widths: Mapping[str, int]) -> nn.Module:
    source, _, space = name.partition("_")
    dim = int(getattr(config, space))
    if source == "va":
        return CoarseHead(config.va, dim, unit=config.unit)
    if source == "video":
        return VideoHead(widths[source], config.hidden, dim)
    return nn.Linear(widths[source], dim)
