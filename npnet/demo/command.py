"""The command ``npnet demo``: check without torch and Gradio, then load once and serve the page."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from npnet.bounds import AtLeast, AtMost, Identifier
from npnet.compatibility import check_spaces
from npnet.description import Description, imported
from npnet.errors import UserError, reworded, shown, under
from npnet.generation.command import GenerationPlan
from npnet.generation.command import make_plan as make_generation_plan
from npnet.metrics.spaces import FeatureSpace
from npnet.settings import read, resolved

if TYPE_CHECKING:
    from omegaconf import DictConfig

GRADIO = 'npnet demo needs Gradio; the extra has it: pip install "npnet-lightning[demo]"'


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Description):
    """The keys that ``npnet demo`` has beside those of ``npnet generate``; see ``conf/demo.yaml``.

    Attributes:
        diversity: label -> space of features, in which the pictures of the seeds are told apart.
        host: the name or IPv4 address to listen on.
        port: to listen on; None: the first free one from Gradio's 7860 on.
    """

    diversity: dict[str, FeatureSpace]
    host: Identifier = "127.0.0.1"
    port: Annotated[int, AtLeast(1), AtMost(65535)] | None = None


@dataclass(frozen=True)
class DemoPlan:
    """The plan of the page, checked; nothing is loaded.

    Attributes:
        generation: as ``npnet generate`` has it; its prompts and seeds are those that the page begins with.
        settings: the page's own keys.
    """

    generation: GenerationPlan
    settings: DemoSettings


def demo(cfg: DictConfig) -> None:
    """Serve the page until it is stopped by Ctrl-C.

    Raises:
        UserError: a key, value, path or combination that cannot work, Gradio is missing, or the port is taken.
    """
    plan = make_plan(cfg)
    settings = plan.generation.settings
    if settings.dry_run:
        steps = f"{settings.num_inference_steps} steps, guidance {settings.guidance_scale}"
        print(f"would show {', '.join(settings.noise)} on {settings.backbone.name}; {steps}")
        return
    if importlib.util.find_spec("gradio") is None:
        raise UserError(GRADIO)
    check_address(plan.settings.host, plan.settings.port)
    with under("backbone"):
        settings.backbone.check_device()
    imported("npnet.demo.page:serve")(plan)


def make_plan(cfg: Any) -> DemoPlan:
    """Build and check everything that the composed configuration names.

    Raises:
        UserError: names the key, and what is allowed.
    """
    settings = read(DemoSettings, resolved(cfg))
    generation = make_generation_plan(cfg)
    check_spaces(generation.settings.backbone, settings.diversity)
    return DemoPlan(generation, settings)


def check_address(host: str, port: int | None) -> None:
    """Refuse an address that cannot be listened on, before anything is loaded.

    Raises:
        UserError: another program listens there, or this machine has no such address.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        start = f"host={host} port={shown(port)}: cannot be listened on ("
        with reworded(OSError, UserError, start, "); choose others"):
            probe.bind((host, port or 0))
