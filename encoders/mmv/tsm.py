"""TSM: a residual network over single frames, whose blocks see the next and the previous frame by shifting channels.

Lin et al. 2019, TSM: Temporal Shift Module, arXiv:1811.08383, as used by Alayrac et al. 2020,
Self-Supervised MultiModal Versatile Networks, arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv/models/tsm_resnet.py, Apache-2.0.
Deviates: as ``resnet`` and ``shift`` do; refuses clips of one frame, which a shift robs of its shifted channels.
Shapes: B clips, T frames, H rows, W columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from quiver.encoders.mmv.resnet import ResNet, Stage, Stem
from quiver.encoders.mmv.s3d import check_clips
from quiver.encoders.mmv.shift import Shift
from quiver.errors import BadData


class TSMResNet(ResNet):
    """The tower: a clip in, one vector out.

    Args:
        depth: 18 or 50, used where no stages are given.
        widen: factor on all channels; 2 for TSM-50x2.
        shift: fraction of channels shifted each way in every block; 0 for a network of single frames.
        stages: another network; see ``resnet.SMALL``.
        stem: its beginning; see ``resnet.SMALL_STEM``.

    Attributes:
        width: of the vector; 2048 for TSM-50.

    Raises:
        BadSpec: no such depth, no stage, or fewer channels than can be shifted.
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        widen: int = 1,
        shift: float = 1 / 8,
        stages: Sequence[Stage] | None = None,
        stem: Stem = Stem(),  # noqa: B008 - a tuple
    ) -> None:
        super().__init__(depth=depth, widen=widen, stages=stages, stem=stem, inputs=3, shift=shift)

    def forward(self, video_BTHWC: Tensor) -> Tensor:
        """Embed clips.

        Args:
            video_BTHWC: (B, T, H, W, 3) float, 0 to 1.

        Returns:
            (B, width) float32: the mean over time, rows and columns.

        Raises:
            BadData: the clips cannot be read so, or have a single frame.
        """
        check_clips(video_BTHWC)
        if video_BTHWC.shape[1] == 1 and any(isinstance(part, Shift) and not part.static for part in self.modules()):
            raise BadData("one frame has no neighbours to shift channels from: deflate the tower to embed pictures")
        return self.last(video_BTHWC).mean((1, 2, 3), dtype=torch.float32)
