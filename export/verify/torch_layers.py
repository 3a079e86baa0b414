"""The tensors of a PyTorch network, under the names that its exported graph gives them.

Only what can be told for certain: the network's input, what goes into every convolution and what
comes out of it (the batch norm included that the export folds into it), and the scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from export.frame_model import INPUT
from export.verify.layers import Offer
from export.verify.preprocessing import network_input
from export.verify.stages import scores_tensor
from refinenet.data.network_input import to_input
from refinenet.evaluation.passes import ONE_PASS
from refinenet.evaluation.predict import class_scores
from runtime.frames import Frame
from runtime.normalization import Normalization


class TorchReference:
    """Runs a network and offers its tensors as they come.

    tensors: the names of those that it can offer.
    """

    def __init__(
        self, network: nn.Module, normalization: Normalization, exported: onnx.ModelProto
    ) -> None:
        self._network, self._normalization = network.eval(), normalization
        self._input, self._scores = network_input(exported), scores_tensor(exported)
        self._nodes = _convolution_nodes(network, exported)
        self._batch_norms: dict[nn.Module, nn.Module] = {}
        self.tensors = {
            *(name for nodes in self._nodes.values() for node in nodes for name in _ends(node)),
            *filter(None, (self._input, self._scores)),
        }

    def __call__(self, frames: Frame, offer: Offer) -> None:
        """Offer every tensor once, in the order of the computation."""
        image = torch.stack([to_input(frame, self._normalization) for frame in frames])
        self._batch_norms = self._batch_norms or _batch_norms_after(self._network, image)
        offered: set[str] = set()

        def once(name: str, value: Tensor) -> None:
            if name not in offered:
                offered.add(name)
                offer(name, value.numpy().copy())  # what follows may work in place

        offer(INPUT, frames)
        if self._input is not None:
            once(self._input, image)
        with torch.inference_mode(), ExitStack() as hooks:
            for convolution, nodes in self._nodes.items():
                self._hook(convolution, iter(nodes), once, hooks)
            scores = class_scores(self._network, image, ONE_PASS)
        once(self._scores, scores)

    def _hook(
        self,
        convolution: nn.Module,
        nodes: Iterator[onnx.NodeProto],
        once: Callable[[str, Tensor], None],
        hooks: ExitStack,
    ) -> None:
        """Offer a convolution's input and its result; a module that is called n times has n nodes,
        in that order, or fewer where the export computes equal ones once."""
        current: list[onnx.NodeProto] = []

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            current[:] = [node for node in (next(nodes, None),) if node is not None]
            for node in current:
                once(node.input[0], inputs[0])

        def after(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            for node in current:
                once(node.output[0], output)

        hooks.callback(convolution.register_forward_pre_hook(before).remove)
        last = self._batch_norms.get(convolution, convolution)
        hooks.callback(last.register_forward_hook(after).remove)


def _ends(node: onnx.NodeProto) -> tuple[str, str]:
    return node.input[0], node.output[0]


def _convolution_nodes(
    network: nn.Module, exported: onnx.ModelProto
) -> dict[nn.Module, list[onnx.NodeProto]]:
    """The nodes of each convolution, found by the name of its weight, in the graph's order."""
    modules = {
        f"network.{path}.weight": module
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    found: defaultdict[nn.Module, list[onnx.NodeProto]] = defaultdict(list)
    for node in exported.graph.node:
        if node.op_type == "Conv" and node.input[1] in modules:
            found[modules[node.input[1]]].append(node)
    return dict(found)


def _batch_norms_after(network: nn.Module, image: Tensor) -> dict[nn.Module, nn.Module]:
    """The batch norm that reads each convolution's output, seen in a run on the image."""
    found: dict[nn.Module, nn.Module] = {}
    makers = WeakIdKeyDictionary()

    def made(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        makers[output] = module

    def read(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0] in makers:
            found[makers[inputs[0]]] = module

    with torch.inference_mode(), ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(made).remove)
            elif isinstance(module, nn.BatchNorm2d):
                hooks.callback(module.register_forward_pre_hook(read).remove)
        class_scores(network, image, ONE_PASS)
    return found
