"""Pictures into vectors: a backbone with GeM pooling and a linear layer, or features made beforehand.

After ARTEMIS (see ``composer``): a picture is padded with white to a square of 256 pixels and cropped to 224, at random
and with random flips while training; backbone -> generalised mean over places, p = 3 -> linear -> length 1.
GeM: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
Deviates: the picture is resized before it is padded, which is quicker and changes single levels of grey; the map may
have any size; the crop and flips are drawn on the device.

Legend: B pictures, S side in pixels, H and W places, C channels, D width of the space.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders import _hub
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.text import Feature
from quiver.errors import BadSpec, MissingWeights, optional
from quiver.media import ImageReader

#: Weights of torchvision that ARTEMIS and CIRPLANT start from. Newer ones classify better, and are weaker features.
PAPER = "IMAGENET1K_V1"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def gem(map_BCHW: Tensor, *, power: float = 3.0, least: float = 1e-6) -> Tensor:
    """Pool by the generalised mean: (B, C)."""
    return map_BCHW.clamp_min(least).pow(power).mean(dim=(2, 3)).pow(1 / power)


class Picture(nn.Module):
    """Pictures (B, S, S, 3) uint8, as ``reader`` gives them, to (B, D).

    Args:
        config: names the backbone; weights are random until ``pretrain`` or a checkpoint fills them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.size, self.unit = config.size, config.image_unit
        self.name = config.image
        self.backbone, (mean, std) = _backbone(config.image, pretrained=False)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))
        self.project = nn.Linear(self._width(), config.dim)

    def forward(self, picture_BSS3: Tensor) -> Tensor:
        """Return vectors, of unit length if ``Config.image_unit``; in training, of random crops and flips."""
        pixels = picture_BSS3.permute(0, 3, 1, 2)
        pixels = self._augment(pixels) if self.training else self._centre(pixels)
        rows = self.pool(self.maps((pixels.float() - self.mean) / self.std))
        return normalize(rows, dim=1) if self.unit else rows

    def pool(self, map_BCHW: Tensor) -> Tensor:
        """Return (B, D) of the backbone's maps, of any length."""
        return self.project(gem(map_BCHW))

    def maps(self, pixel_B3SS: Tensor) -> Tensor:
        """Return the backbone's last map (B, C, H, W) of normalised pixels."""
        if self.name.startswith("open_clip"):
            return self.backbone.forward_intermediates(pixel_B3SS, indices=1, intermediates_only=True)[
                "image_intermediates"
            ][-1]
        if self.name.startswith("torchvision"):
            return self.backbone(pixel_B3SS)
        found = self.backbone.forward_features(pixel_B3SS)
        if found.ndim == 3:  # tokens: leave out those that are no patch
            return found[:, self.backbone.num_prefix_tokens :].transpose(1, 2)[..., None]
        last = found.shape[-1] == self.backbone.num_features != found.shape[1]
        return found.permute(0, 3, 1, 2) if last else found

    def pretrain(self) -> None:
        """Fill the backbone with its library's weights, from disk or the network.

        Raises:
            MissingWeights: they are neither on disk nor to be downloaded from here.
        """
        network, _ = _backbone(self.name, pretrained=True)
        self.backbone.load_state_dict(network.state_dict())

    def _centre(self, pixel_B3SS: Tensor) -> Tensor:
        start = (pixel_B3SS.shape[-1] - self.size) // 2
        return pixel_B3SS[..., start : start + self.size, start : start + self.size]

    def _augment(self, pixel_B3SS: Tensor) -> Tensor:
        """Crop and flip each picture by itself."""
        count, room = len(pixel_B3SS), pixel_B3SS.shape[-1] - self.size + 1
        device = pixel_B3SS.device
        shift = torch.randint(room, (2, count, 1), device=device) + torch.arange(self.size, device=device)
        down, across = shift
        across = torch.where(torch.rand(count, 1, device=device) < 0.5, across, across.flip(1))
        row = torch.arange(count, device=device)[:, None, None]
        return pixel_B3SS.permute(0, 2, 3, 1)[row, down[:, :, None], across[:, None]].permute(0, 3, 1, 2)

    @torch.no_grad()
    def _width(self) -> int:
        self.backbone.eval()
        width = self.maps(torch.zeros(1, 3, self.size, self.size)).shape[1]
        self.backbone.train()
        return width


def reader(config: Config) -> ImageReader:
    """Return the picture reader of a trainable backbone: white squares of 256 pixels for a crop of 224."""
    return ImageReader(config.size * 8 // 7, fit="pad", resample="bilinear")


def build(config: Config) -> nn.Module:
    """Return the image tower of a model."""
    unit = config.image_unit and config.composer != "cirplant"  # which reads a reference as it is
    if width := config.wide("image"):
        return Feature(width, config.dim, project=config.project, unit=unit, hidden=config.hidden, drop=config.drop)
    tower = Picture(config)
    tower.unit = unit
    return tower


def _backbone(image: str, *, pretrained: bool) -> tuple[Any, tuple[Any, Any]]:
    """Return a network and the mean and standard deviation of its pixels, from 0 to 1."""
    library, _, name = image.partition(":")
    make = {"timm": _timm, "torchvision": _torchvision, "open_clip": _open_clip}[library]
    try:
        with _hub.quiet(), optional():
            return make(name, pretrained)
    except OSError as error:
        raise MissingWeights(f"image={image}: its weights are not on disk and cannot be downloaded") from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise BadSpec(f"image={image} cannot be built: {_hub.brief(error)}") from error


def _timm(name: str, pretrained: bool) -> tuple[Any, tuple[Any, Any]]:
    import timm

    network = timm.create_model(name, pretrained=pretrained, num_classes=0)
    config = timm.data.resolve_model_data_config(network)
    return network, (config["mean"], config["std"])


def _torchvision(name: str, pretrained: bool) -> tuple[Any, tuple[Any, Any]]:
    from torchvision import models

    architecture, _, tag = name.partition("/")
    weights = None
    if pretrained:
        known = models.get_model_weights(architecture)
        weights = known[tag or (PAPER if PAPER in known.__members__ else "DEFAULT")]
    network = models.get_model(architecture, weights=weights)
    features = getattr(network, "features", None)
    if features is None:  # a ResNet: all but pooling and classifier
        features = nn.Sequential(*list(network.children())[:-2])
    return features, IMAGENET


def _open_clip(name: str, pretrained: bool) -> tuple[Any, tuple[Any, Any]]:
    import open_clip

    architecture, _, tag = name.partition("/")
    if pretrained and not tag:
        raise ValueError(f"give the tag of its weights too, as in image=open_clip:{architecture}/openai")
    model = open_clip.create_model(architecture, pretrained=tag if pretrained else None)
    return model.visual, (model.visual.image_mean, model.visual.image_std)
