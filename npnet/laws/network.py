"""The laws of networks; see ``npnet.networks.NoiseNetwork``.

Each law takes a network in ``eval()`` mode and raises ``AssertionError``, with the reason, where it is broken.
"""

from __future__ import annotations

import inspect
import json
import pickle
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet.laws.require import require, require_refusal
from npnet.networks import NoiseNetwork
from npnet.networks.stored import CLASS, CONFIG_FILE
from npnet.seeding import named_seed

Law = Callable[[NoiseNetwork], None]
GRID = 16
LENGTH = 7


def inputs(network: NoiseNetwork, batch: int = 2, name: str = "law") -> dict[str, Tensor]:
    """Return what ``forward`` is given: noise, and the embeddings that the network reads; equal for equal ``name``."""
    generator = torch.Generator().manual_seed(named_seed(0, name) % 2**63)
    sizes = network.sizes
    grid = list(network.config.get("latent_size") or [GRID] * network.spatial_axes)
    found = {"noise": torch.randn(batch, sizes.get("latent_channels", 4), *grid, generator=generator)}
    if "prompt_embed_dim" in sizes:
        length = sizes.get("prompt_length") or LENGTH
        found["prompt_embeds"] = torch.randn(batch, length, sizes["prompt_embed_dim"], generator=generator)
    if sizes.get("pooled_embed_dim"):
        found["pooled_prompt_embeds"] = torch.randn(batch, sizes["pooled_embed_dim"], generator=generator)
    return found


@torch.no_grad()
def golden_noise_is_like_the_noise(network: NoiseNetwork) -> None:
    """The result has the noise's shape and dtype and is finite; the noise itself is left unchanged."""
    given = inputs(network)
    before = given["noise"].clone()
    golden = network(**given)
    require(golden.shape == before.shape, f"returned {tuple(golden.shape)} for noise {tuple(before.shape)}")
    require(golden.dtype == before.dtype, f"returned {golden.dtype} for noise of {before.dtype}")
    require(bool(golden.isfinite().all()), "returned NaN or infinity")
    require(torch.equal(given["noise"], before), "changed the noise it was given")
    half = network(**{**given, "noise": before.half()})
    require(half.dtype == torch.float16, f"returned {half.dtype} for noise of torch.float16")


@torch.no_grad()
def a_sample_does_not_depend_on_its_batch(network: NoiseNetwork) -> None:
    """A sample gives the same result alone and beside another, to 1e-5 of the noise's size."""
    given = inputs(network)
    together = network(**given)
    for row in range(2):
        alone = network(**{name: tensor[[row]] for name, tensor in given.items()})
        error = float((alone - together[[row]]).abs().max())
        require(error <= 1e-5 * max(1.0, float(together.abs().max())), f"sample {row} alone differs by {error:.2g}")


@torch.no_grad()
def evaluation_is_deterministic(network: NoiseNetwork) -> None:
    """Two calls give the same bits, and draw nothing from torch's random stream."""
    given, state = inputs(network), torch.get_rng_state()
    require(torch.equal(network(**given), network(**given)), "two calls in eval() mode differ")
    require(torch.equal(torch.get_rng_state(), state), "draws from torch's global random stream in eval() mode")


@torch.no_grad()
def a_decomposition_given_is_the_one_computed(network: NoiseNetwork) -> None:
    """The function ``decomposer`` can be pickled, and gives the decomposition that the network itself computes."""
    decompose = network.decomposer()
    if decompose is None:
        return
    decompose, given = pickle.loads(pickle.dumps(decompose)), inputs(network)
    error = float((network(**given, decomposition=decompose(given["noise"])) - network(**given)).abs().max())
    require(error <= 1e-5, f"a decomposition that is given changes the result by {error:.2g}")


@torch.no_grad()
def what_is_saved_is_loaded(network: NoiseNetwork) -> None:
    """The class loads what it saved: the same configuration, in plain JSON, and the same output, bit for bit."""
    given = inputs(network)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        again = type(network).from_pretrained(folder)
        stored = json.loads((Path(folder) / CONFIG_FILE).read_text(encoding="utf-8"))
    require(again.config == network.config, f"config is {again.config} after loading, was {network.config}")
    stored.pop(CLASS, None)
    parameters = inspect.signature(type(network)).parameters.values()
    known = {parameter.name for parameter in parameters}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        require(set(stored) <= known, f"config.json holds {sorted(set(stored) - known)}, no constructor arguments")
    require(torch.equal(again(**given), network(**given)), "gives another result after saving and loading")


@torch.no_grad()
def a_folder_is_loaded_by_its_own_class_alone(network: NoiseNetwork) -> None:
    """Another network's class refuses the folder in one line, and imports nothing that the folder names."""
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        load = partial(_Stranger.from_pretrained, folder)
        said = require_refusal(ValueError, load, "another network's class loads its folder")
        require("\n" not in said, "is refused by another class in more than one line")


def training_reaches_weights(network: NoiseNetwork) -> None:
    """A loss on the result gives at least one weight a gradient, and every gradient is finite."""
    network.train()
    try:
        loss = (network(**inputs(network)) - 1).square().mean()  # a result of 0 at the start has a gradient too
        require(loss.requires_grad, "the result depends on no weight")
        loss.backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        require(any(bool(gradient.any()) for gradient in gradients), "no weight gets a gradient")
        require(all(bool(g.isfinite().all()) for g in gradients), "a gradient is not finite")
    finally:
        network.zero_grad()
        network.eval()


@torch.no_grad()
def what_does_not_fit_is_refused(network: NoiseNetwork) -> None:
    """Noise with wrong channels, and a prompt that is missing or has a wrong width, raise ``ValueError``."""
    given = inputs(network)
    wrong: list[Mapping[str, Any]] = []
    if "latent_channels" in network.sizes:
        wrong.append(
            {**given, "noise": given["noise"][:, :-1] if given["noise"].shape[1] > 1 else given["noise"][:, :0]}
        )
    if "prompt_embeds" in given:
        wrong.append({**given, "prompt_embeds": None})
        wrong.append({**given, "prompt_embeds": torch.cat([given["prompt_embeds"]] * 2, -1)})
    for arguments in wrong:
        what = "takes noise or embeddings that it was not built for"
        require_refusal(ValueError, partial(network, **arguments), what)


LAWS: dict[str, Law] = {
    law.__name__.replace("_", " "): law
    for law in (
        golden_noise_is_like_the_noise,
        a_sample_does_not_depend_on_its_batch,
        evaluation_is_deterministic,
        a_decomposition_given_is_the_one_computed,
        what_is_saved_is_loaded,
        a_folder_is_loaded_by_its_own_class_alone,
        training_reaches_weights,
        what_does_not_fit_is_refused,
    )
}
"""Every law by its name in words; its docstring's first line says what holds, and ``npnet check`` shows it."""


class _Stranger(NoiseNetwork):
    """A network that no folder is of."""

    def __init__(self) -> None:
        super().__init__({})
