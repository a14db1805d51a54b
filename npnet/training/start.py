"""The network at the start of training, with fresh weights or those of another network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from npnet.data.found import sizes_of
from npnet.errors import UserError, reworded
from npnet.fields import checked, parameters_of
from npnet.instantiate import Node
from npnet.networks import NoiseNetwork, Start, network_class

if TYPE_CHECKING:
    from npnet.data.datamodule import PairData
    from npnet.data.prompt_noise import PromptNoise
    from npnet.training.settings import TrainSettings


def needs_text(node: Node) -> bool:
    """Return whether the network reads the prompt."""
    return network_target(node).reads_prompt(node.keys)


def network_target(node: Node) -> type[NoiseNetwork]:
    """Return the class of a network's node.

    Raises:
        FieldError: the class does not exist, or is not a network.
    """
    return network_class(str(node.keys.get("_target_")), "network._target_")


def check_own_network(node: Node) -> None:
    """Refuse keys that a network's class does not have, and values that its annotations do not allow.

    Raises:
        FieldError: names the key.
    """
    node.check(*parameters_of(network_target(node)))


def build_network(
    settings: TrainSettings, data: PairData | PromptNoise, embed_dims: Mapping[str, int] | None = None
) -> NoiseNetwork:
    """Build the network for the shapes of the data, with fresh weights.

    Args:
        settings: of the run.
        data: of the run.
        embed_dims: sizes of embeddings that the data does not have yet.

    Raises:
        UserError: a key is not allowed, or the network cannot be built for this data.
    """
    facts: dict[str, Any] = {**settings.objective.embed_dims(settings), **(embed_dims or {}), **sizes_of(data.first())}
    parameters, open_ended = parameters_of(network_target(settings.network))
    facts = {name: fact for name, fact in facts.items() if open_ended or name in parameters}
    for name in facts.keys() & settings.network.keys.keys() & parameters.keys():  # a mistake, though the data decides
        checked(parameters[name], settings.network.keys[name], f"network.{name}")
    return settings.network.build(NoiseNetwork, **facts)


def make_network(
    settings: TrainSettings, data: PairData | PromptNoise, embed_dims: Mapping[str, int] | None = None
) -> tuple[NoiseNetwork, Start]:
    """Build the network for the shapes of the data, and take the weights of ``init_from``.

    Args:
        settings: of the run.
        data: of the run.
        embed_dims: see ``build_network``.

    Returns:
        The network, and what was not taken from ``init_from``.

    Raises:
        UserError: the network cannot be built for this data, or ``init_from`` is another network.
    """
    network = build_network(settings, data, embed_dims)
    if settings.init_from is None:
        trunk = settings.network.keys.get("trunk")
        asked = f"network.pretrained_trunk=true: the weights of {trunk} cannot be fetched: "
        what = asked if settings.network.keys.get("pretrained_trunk") else "network: its weights cannot be fetched: "
        with reworded((OSError, ValueError, RuntimeError), UserError, what):
            return network.load(), Start()
    where, form = f"init_from={settings.init_from}: ", "; network=NAME must be the form it was trained in"
    with (
        reworded((ValueError, OSError, RuntimeError), UserError, where, form, but=UserError),
        reworded(FileNotFoundError, UserError, where),
    ):
        return network, network.start_from(settings.init_from)


def describe_start(init_from: str, network: NoiseNetwork, start: Start) -> str:
    """Say which weights were taken from ``init_from``, and which were not."""
    if not start.fresh and not start.dropped:
        return f"starting from {init_from}: all weights taken"
    if not start.fresh:
        left_out = "without its text term, which this network does not have"
        return f"starting from {init_from}: {left_out}; everything else is taken over"
    state = network.state_dict()
    count = sum(state[name].numel() for name in start.fresh)
    total = sum(tensor.numel() for tensor in state.values())
    why = "its text term has another width or form" if start.dropped else "it has no text term"
    fresh = f"so it starts from fresh weights ({count} of {total} weights)"
    return f"starting from {init_from}: {why}, {fresh}; everything else is taken over"
