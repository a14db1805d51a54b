"""What training starts from: the network, of fresh weights or of another one's."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

from npnet.data.found import sizes_of
from npnet.errors import FieldError, UserError, closest, one_line, reworded
from npnet.fields import checked
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
        FieldError: there is no such class, or it is no network.
    """
    return network_class(str(node.keys.get("_target_")), "network._target_")


def check_own_network(node: Node) -> None:
    """Refuse keys that a network's class does not have, and values that its constructor's annotations do not allow.

    Raises:
        FieldError: names the key.
    """
    target = network_target(node)
    parameters = inspect.signature(target).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = get_type_hints(target.__init__, include_extras=True)
    for name, value in node.keys.items():
        if name in hints:
            checked(hints[name], value, f"{node.where}.{name}")
        elif name != "_target_" and name not in parameters and not open_ended:
            raise FieldError(f"{node.where}.{name}", value, f"no such key; {closest(name, parameters)}")


def build_network(settings: TrainSettings, data: PairData | PromptNoise) -> NoiseNetwork:
    """Build the network for the shapes of the data, of fresh weights.

    Raises:
        UserError: a key cannot be, or the network cannot be built for this data.
    """
    facts: dict[str, Any] = {**settings.objective.embed_dims(settings), **sizes_of(data.first())}
    parameters = inspect.signature(network_target(settings.network)).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    facts = {name: fact for name, fact in facts.items() if open_ended or name in parameters}
    hints = get_type_hints(network_target(settings.network).__init__, include_extras=True)
    for name in facts.keys() & settings.network.keys.keys() & hints.keys():  # a mistake, though the data has its say
        checked(hints[name], settings.network.keys[name], f"network.{name}")
    return settings.network.build(NoiseNetwork, **facts)


def make_network(settings: TrainSettings, data: PairData | PromptNoise) -> tuple[NoiseNetwork, Start]:
    """Build the network for the shapes of the data, and take the weights of ``init_from``.

    Returns:
        The network, and what ``init_from`` left out.

    Raises:
        UserError: the network cannot be built for this data, or ``init_from`` is of another one.
    """
    network = build_network(settings, data)
    if settings.init_from is None:
        try:
            return network.load(), Start()
        except (OSError, ValueError, RuntimeError) as error:
            what = "network: its pretrained weights cannot be had"
            if settings.network.keys.get("pretrained_trunk"):
                what = (
                    f"network.pretrained_trunk=true: the weights of {settings.network.keys.get('trunk')} cannot be had"
                )
            raise UserError(f"{what}: {one_line(error)[:300]}") from error
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
        return f"starting from {init_from}: its text term is left out, as this network has none; all else is taken"
    state = network.state_dict()
    count = sum(state[name].numel() for name in start.fresh)
    total = sum(tensor.numel() for tensor in state.values())
    why = "its text term is of another width or form" if start.dropped else "it has no text term"
    fresh = f"so this one starts from fresh weights ({count} of {total} weights)"
    return f"starting from {init_from}: {why}, {fresh}; all else is taken"
