"""The parts of a RefineNet block (Lin et al., CVPR 2017, figures 2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


def conv(in_channels: int, out_channels: int, kernel_size: int, bias: bool = False) -> nn.Conv2d:
    """A stride-1 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)


class ResidualConvUnit(nn.Module):
    """ReLU, conv, ReLU, conv, plus the input; no batch norm (paper, figure 3b).

    Only the first convolution has a bias, as in the published weights.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, 3, bias=True)
        self.conv2 = conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        # Not an in-place ReLU: the shortcut carries x, not relu(x).
        y: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + y


class MultiResolutionFusion(nn.Module):
    """A convolution on each path, then the sum at the size of the first path (figure 3c).

    forward takes the paths finest first, (N, path_channels[i], H_i, W_i) each, and returns
    (N, channels, H_0, W_0).
    """

    def __init__(self, path_channels: Sequence[int], channels: int, kernel_size: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(c, channels, kernel_size) for c in path_channels)

    def forward(self, *paths: Tensor) -> Tensor:
        finest, *coarser = (conv(path) for conv, path in zip(self.convs, paths, strict=True))
        total: Tensor = finest
        for path in coarser:
            if path.shape[-2:] != finest.shape[-2:]:
                # align_corners=True: the published weights were trained with it.
                path = F.interpolate(path, finest.shape[-2:], mode="bilinear", align_corners=True)
            total = total + path
        return total


POOL_CONV, CONV_POOL = "pool-conv", "conv-pool"


@dataclass(frozen=True)
class Pooling:
    """The links of a chained residual pooling.

    order: pool-conv as in the paper and the PyTorch weights, or conv-pool, the authors' "improved"
    pooling, which their later weights (NYUDv2, Person-Part, Context, SUN-RGBD, ADE20K) use.
    links: 4 in the published code and weights; figure 3d shows 2.
    """

    order: str = POOL_CONV
    links: int = 4


PUBLISHED_POOLING = Pooling()
_LINK = re.compile(r"blocks\.\d\.pool\.convs\.(\d+)\.weight")


def pooling_in(keys: Collection[str]) -> Pooling:
    """The pooling of a network with these keys; its order leaves no trace in them and is taken for
    the published one."""
    links = [int(match[1]) + 1 for match in map(_LINK.fullmatch, keys) if match]
    return Pooling(POOL_CONV, max(links, default=PUBLISHED_POOLING.links))


class ChainedResidualPooling(nn.Module):
    """One ReLU, then links of 5x5 max pooling and a convolution, each feeding the next; the sum of
    all their outputs and the input (figure 3d)."""

    def __init__(
        self, channels: int, kernel_size: int, pooling: Pooling, activation: nn.Module
    ) -> None:
        super().__init__()
        self.order = pooling.order
        self.activation = activation
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(
            conv(channels, channels, kernel_size) for _ in range(pooling.links)
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.activation(x)
        link = total
        for conv in self.convs:
            link = conv(self.pool(link)) if self.order == POOL_CONV else self.pool(conv(link))
            total = total + link
        return total


class RefineNetBlock(nn.Module):
    """Adaptive convolutions, fusion, chained residual pooling, output convolution (figure 3a).

    Light-Weight RefineNet (Nekrasov et al., BMVC 2018, figure 2) is the same block with
    kernel_size 1 and without residual_units.

    forward takes the paths finest first, (N, path_channels[i], H_i, W_i) each, and returns
    (N, channels, H_0, W_0). A single path is not fused: its channels must equal `channels`.
    """

    def __init__(
        self,
        path_channels: Sequence[int],
        channels: int,
        *,
        kernel_size: int = 3,
        residual_units: bool = True,
        pooling: Pooling = PUBLISHED_POOLING,
        activation: type[nn.ReLU] | type[nn.ReLU6] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(
            nn.Sequential(ResidualConvUnit(c), ResidualConvUnit(c))
            if residual_units
            else nn.Identity()
            for c in path_channels
        )
        self.fuse = (
            MultiResolutionFusion(path_channels, channels, kernel_size)
            if len(path_channels) > 1
            else nn.Identity()
        )
        self.pool = ChainedResidualPooling(channels, kernel_size, pooling, activation())
        self.output = ResidualConvUnit(channels) if residual_units else nn.Identity()

    def forward(self, *paths: Tensor) -> Tensor:
        adapted = (adapt(path) for adapt, path in zip(self.adapt, paths, strict=True))
        out: Tensor = self.output(self.pool(self.fuse(*adapted)))
        return out
