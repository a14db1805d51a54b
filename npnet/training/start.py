"""What training starts from: the network, of fresh weights or of another one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npnet.errors import UserError, one_line
from npnet.instantiate import build

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from npnet.data.datamodule import PairData
    from npnet.networks import NPNet


def needs_text(cfg: DictConfig) -> bool:
    """Return whether the network reads the prompt; YAML reads a bare ``off`` as False."""
    return cfg.network.get("text_term") not in ("off", False)


def make_network(cfg: DictConfig, data: PairData) -> tuple[NPNet, list[str]]:
    """Build ``cfg.network`` for the shapes of the data, and take the weights of ``cfg.init_from``.

    Returns:
        The network, and the weights that ``init_from`` left newly initialised: none, or the text term's.

    Raises:
        UserError: the network cannot be built for this data, or ``init_from`` is of another one.
    """
    pair = data.first()
    embeds = pair.prompt_embeds or {}
    facts: dict[str, Any] = {
        "latent_channels": pair.source_noise.shape[0],
        "latent_size": list(pair.source_noise.shape[1:]),
    }
    if "prompt_embeds" in embeds:
        facts["prompt_length"], facts["prompt_embed_dim"] = embeds["prompt_embeds"].shape
        facts["pooled_embed_dim"] = len(embeds["pooled_prompt_embeds"]) if "pooled_prompt_embeds" in embeds else 0
    network = build(cfg.network, "network", **facts)
    if cfg.init_from is None:
        try:
            return network.load(), []
        except (OSError, ValueError, RuntimeError) as error:
            what = f"network.pretrained_trunk=true: the weights of {cfg.network.trunk} cannot be had"
            raise UserError(f"{what}: {one_line(error)[:300]}") from error
    from npnet.networks import initialise_from

    try:
        return network, initialise_from(network, cfg.init_from)
    except FileNotFoundError as error:
        raise UserError(f"init_from={cfg.init_from}: {one_line(error)[:400]}") from error
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(
            f"init_from={cfg.init_from}: {one_line(error)[:400]}; network=NAME must be the form it was trained in"
        ) from error


def describe_start(cfg: DictConfig, network: NPNet, fresh: list[str]) -> str:
    """Say which weights were taken from ``cfg.init_from``, and which were not."""
    if not fresh:
        return f"starting from {cfg.init_from}: all weights taken"
    state = network.state_dict()
    count = sum(state[name].numel() for name in fresh)
    total = sum(tensor.numel() for tensor in state.values())
    return (
        f"starting from {cfg.init_from}: its text term is of another width or form, so this one starts new "
        f"({count} of {total} weights); all else is taken"
    )
