"""FCN on VGG16: wkentaro's pytorch-fcn, and the FCN-8s inside sadeepj's crfasrnn_pytorch."""

from __future__ import annotations

from refinenet.checkpoints.published_keys.key_table import KeyTable
from refinenet.renaming import Rename
from runtime.normalization import Normalization

# Their means are of blue, green and red, 0 to 255.
WKENTARO_LEVELS = Normalization(
    mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
)
SADEEPJ_LEVELS = Normalization(
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
)

_COMMON: Rename = (
    (r"(?:conv[1-5]_[1-3]|fc[67])\..*", r"backbone.\g<0>"),
    (r"score_fr\.(.*)", r"scores.0.\1"),
    (r"score_pool4\.(.*)", r"scores.1.\1"),
    (r"score_pool3\.(.*)", r"scores.2.\1"),
)
FCN_32S = KeyTable((*_COMMON, (r"upscore\.(.*)", r"upsamplings.0.\1")))
FCN_16S = KeyTable(
    (
        *_COMMON,
        (r"upscore2\.(.*)", r"upsamplings.0.\1"),
        (r"upscore16\.(.*)", r"upsamplings.1.\1"),
    )
)
_EIGHT: Rename = (
    *_COMMON,
    (r"upscore2\.(.*)", r"upsamplings.0.\1"),
    (r"upscore_pool4\.(.*)", r"upsamplings.1.\1"),
    (r"upscore8\.(.*)", r"upsamplings.2.\1"),
)
FCN_8S = KeyTable(_EIGHT)
# The bias of the first upsampling is added to the scores of pool4 right after: one bias does both.
CRFASRNN = KeyTable(
    _EIGHT, added=("upscore2.bias", "score_pool4.bias"), normalization=SADEEPJ_LEVELS
)
