"""torchvision's fcn_resnet50 and fcn_resnet101."""

from __future__ import annotations

from refinenet.checkpoints.published_keys.key_table import KeyTable

# All other keys are ours too.
FCN = KeyTable(left_out=r"aux_classifier\..*")
