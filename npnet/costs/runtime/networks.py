"""The counts of a network: applying it, and a step of its training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import mse_loss

from npnet.costs.counts import Counts, Part, identity
from npnet.costs.runtime.counter import CUDA, count, move, weight_bytes
from npnet.instantiate import Node
from npnet.networks import NoiseNetwork

CPU = torch.device("cpu")
"""Where a step of training is counted: torch's backward pass asks a GPU's driver, also for fake tensors."""
COPIES = 3
"""Of the weights that training with AdamW holds: themselves and two moments; the gradients are counted."""


def count_network(name: str, node: Node) -> Counts:
    """Count a network of the sizes that its keys say, in float32; singular values are decomposed on the CPU.

    Raises:
        UserError: a key that the network does not take.
    """
    parts = {"forward": _forward(node), "training": _training(node)}
    return Counts(name, identity("network", node.keys), parts)


def _forward(node: Node) -> Part:
    mode, network, inputs = _fake(node, CUDA)
    with torch.no_grad():
        return count(mode, lambda rows: network(**_rows(inputs, rows, CUDA)), weight_bytes(network))


def _training(node: Node) -> Part:
    mode, network, inputs = _fake(node, CPU)
    network.train().requires_grad_(True)

    def step(rows: int) -> None:
        given = _rows(inputs, rows, CPU)
        mse_loss(network(**given), torch.empty_like(given["noise"])).backward()
        network.zero_grad()

    return count(mode, step, COPIES * weight_bytes(network), CPU)


def _fake(node: Node, device: torch.device) -> tuple[FakeTensorMode, NoiseNetwork, dict[str, Any]]:
    """Return the network of fake tensors, and a row of its inputs, of real ones."""
    network = Node(node.where, {**node.keys, "pretrained_trunk": False}).build(NoiseNetwork)
    sizes, mode = network.config, FakeTensorMode(allow_non_fake_inputs=True)
    noise = torch.randn(1, sizes["latent_channels"], *sizes["latent_size"])
    inputs: dict[str, Any] = {"noise": noise}
    if network.reads_prompt(node.keys):
        inputs["prompt_embeds"] = torch.empty(1, sizes["prompt_length"], sizes["prompt_embed_dim"])
        if sizes.get("pooled_embed_dim"):
            inputs["pooled_prompt_embeds"] = torch.empty(1, sizes["pooled_embed_dim"])
    decompose = network.decomposer()
    if decompose is not None:
        inputs["decomposition"] = decompose(noise)
    move(mode, network, device=device)
    return mode, network, inputs


def _rows(inputs: dict[str, Any], rows: int, device: torch.device) -> dict[str, Any]:
    """Return fake inputs of so many rows; to be called under the mode."""

    def several(row: Tensor) -> Tensor:
        return torch.empty(rows, *row.shape[1:], device=device)

    return {
        n: several(row) if isinstance(row, Tensor) else [several(part) for part in row] for n, row in inputs.items()
    }
