"""RefineNet's and Light-Weight RefineNet's published checkpoints (DrSleep).

The publications count stages from the coarsest, 1; `blocks` does so from 0.
"""

from __future__ import annotations

import re

from refinenet.checkpoints.published_keys.key_table import KeyTable
from refinenet.renaming import Rename

RESNET_BACKBONE: Rename = ((r"(?:conv1|bn1|layer[1-4])\..*", r"backbone.\g<0>"),)

RESNET_DECODER: Rename = (
    (r"p_ims1d2_outl(\d)_dimred\.(.*)", lambda m: f"reductions.{int(m[1]) - 1}.1.{m[2]}"),
    (
        r"adapt_stage(\d)_b2_joint_varout_dimred\.(.*)",
        lambda m: f"blocks.{int(m[1]) - 1}.fuse.convs.0.{m[2]}",
    ),
    (
        r"mflow_conv_g(\d)_b3_joint_varout_dimred\.(.*)",
        lambda m: f"blocks.{m[1]}.fuse.convs.1.{m[2]}",
    ),
    (
        r"mflow_conv_g(\d)_pool\.0\.(\d+)_outvar_dimred\.(.*)",
        lambda m: f"blocks.{int(m[1]) - 1}.pool.convs.{int(m[2]) - 1}.{m[3]}",
    ),
)


def _adaptive_unit(match: re.Match[str]) -> str:
    stage, unit, first_or_second, leaf = match.groups()
    return f"blocks.{int(stage) - 1}.adapt.0.{int(unit) - 1}.{_CONV[first_or_second]}.{leaf}"


def _output_unit(match: re.Match[str]) -> str:
    """Of three published output units, two are the adaptive ones of the next block's path."""
    stage, unit, first_or_second, leaf = match.groups()
    if unit == "1":
        place = f"blocks.{int(stage) - 1}.output"
    elif stage == "4":
        place = f"classifier.{int(unit) - 2}"
    else:
        place = f"blocks.{stage}.adapt.1.{int(unit) - 2}"
    return f"{place}.{_CONV[first_or_second]}.{leaf}"


_CONV = {"conv": "conv1", "conv_relu_varout_dimred": "conv2"}

REFINENET = KeyTable(
    (
        *RESNET_BACKBONE,
        *RESNET_DECODER,
        (r"adapt_stage(\d)_b\.0\.(\d)_(conv|conv_relu_varout_dimred)\.(.*)", _adaptive_unit),
        (r"mflow_conv_g(\d)_b\.0\.(\d)_(conv|conv_relu_varout_dimred)\.(.*)", _output_unit),
        (r"clf_conv\.(.*)", r"classifier.3.\1"),
    )
)
LIGHT_WEIGHT = KeyTable(
    (
        *RESNET_BACKBONE,
        *RESNET_DECODER,
        (r"clf_conv\.(.*)", r"classifier.0.\1"),
    )
)

_MOBILE_PARTS = ("expand", "depthwise", "project")
_MOBILE_TAPS = {8: "0.fuse.convs.0", 7: "0.fuse.convs.1", 6: "1.fuse.convs.0"} | {
    5: "1.fuse.convs.1",
    4: "2.fuse.convs.0",
    3: "3.fuse.convs.0",
}
LIGHT_WEIGHT_MOBILE = KeyTable(
    (
        (r"layer1\.(\d)\.(.*)", r"backbone.stem.\1.\2"),
        (
            r"layer([2-8])\.(\d)\.output\.(\d)\.(\d)\.(.*)",
            lambda m: (
                f"backbone.stages.{int(m[1]) - 2}.{m[2]}.{_MOBILE_PARTS[int(m[3])]}.{m[4]}.{m[5]}"
            ),
        ),
        (r"conv([3-8])\.(.*)", lambda m: f"blocks.{_MOBILE_TAPS[int(m[1])]}.{m[2]}"),
        (
            r"conv_adapt([2-4])\.(.*)",  # the last convolution of the fusion: its coarser path
            lambda m: f"blocks.{5 - int(m[1])}.fuse.convs.{'2' if m[1] == '4' else '1'}.{m[2]}",
        ),
        (
            r"crp(\d)\.0\.(\d+)_outvar_dimred\.(.*)",
            lambda m: f"blocks.{4 - int(m[1])}.pool.convs.{int(m[2]) - 1}.{m[3]}",
        ),
        (r"segm\.(.*)", r"classifier.0.\1"),
    )
)
