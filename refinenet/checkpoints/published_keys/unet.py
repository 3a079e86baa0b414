"""milesial's Pytorch-UNet, with transposed convolutions or bilinear upsampling."""

from __future__ import annotations

from refinenet.checkpoints.published_keys.key_table import KeyTable
from runtime.normalization import Normalization

# It divides by 255 and does no more.
MILESIAL_LEVELS = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

UNET = KeyTable(
    (
        (r"inc\.double_conv\.(.*)", r"encoder.0.\1"),
        (r"down([1-4])\.maxpool_conv\.1\.double_conv\.(.*)", r"encoder.\1.\2"),
        (r"up([1-4])\.up\.(.*)", lambda m: f"decoder.{int(m[1]) - 1}.up.{m[2]}"),
        (
            r"up([1-4])\.conv\.double_conv\.(.*)",
            lambda m: f"decoder.{int(m[1]) - 1}.convs.{m[2]}",
        ),
        (r"outc\.conv\.(.*)", r"classifier.\1"),
    )
)
