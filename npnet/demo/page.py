"""The page, made with Gradio. It loads nothing from another host and sends nothing to one."""

from __future__ import annotations

import html
import logging
import os
import threading
from typing import Any

import gradio as gr

from npnet.demo.command import DemoPlan
from npnet.demo.maker import Maker
from npnet.demo.view import STYLE, render
from npnet.errors import UserError
from npnet.text import code

log = logging.getLogger(__name__)

THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
"""Gradio's own, with the letters of the reader's machine."""
PROGRESS = gr.Progress()
"""Gradio looks for one among a function's defaults."""


def build(plan: DemoPlan, maker: Maker) -> gr.Blocks:
    """Return the page.

    Args:
        plan: of the page.
        maker: of its pictures, loaded.
    """
    settings, prompts = plan.generation.settings, list(plan.generation.prompts.prompts)
    seeds = [str(sample.seed) for sample in plan.generation.samples if sample.prompt == prompts[0]]

    def make(prompt: str, seeds: str, methods: list[str], progress: gr.Progress = PROGRESS) -> tuple[Any, str]:
        try:
            made = maker.make(prompt, seeds, methods, lambda done, of: progress((done, of), unit="pictures"))
        except UserError as error:
            return gr.skip(), f'<p class="npnet-mistake" role="alert">{html.escape(str(error))}</p>'
        return render(made, settings, plan.settings.diversity), ""

    with gr.Blocks(title="NPNet", analytics_enabled=False) as page:
        gr.Markdown(f"# Initial noise, side by side\n\n{headline(plan)}")
        with gr.Row():
            prompt = gr.Textbox(prompts[0], label="Prompt", scale=4)
            numbers = gr.Textbox(" ".join(seeds), label="Seeds", scale=1)
        if len(prompts) > 1:
            gr.Examples([[text] for text in prompts], [prompt], label="Prompts to try")
        methods = gr.CheckboxGroup(list(settings.noise), value=list(settings.noise), label="Noise methods")
        button = gr.Button("Make pictures", variant="primary")
        said, shown = gr.HTML(), gr.HTML()
        asks = [button.click, prompt.submit, numbers.submit]
        gr.on(asks, make, [prompt, numbers, methods], [shown, said], api_name="make")
    return page


def headline(plan: DemoPlan) -> str:
    """Return, as Markdown, what makes the pictures."""
    settings = plan.generation.settings
    return (
        f"{code(settings.backbone.name)}, {settings.num_inference_steps} steps, guidance {settings.guidance_scale:g}, "
        f"sampler {code(settings.sampler)}"
    )


def open_page(plan: DemoPlan) -> tuple[gr.Blocks, str]:
    """Load, and serve the page from a thread of its own.

    Returns:
        The page, to be closed, and its address.

    Raises:
        UserError: a part cannot be loaded.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # also of errors, which the page's own switch leaves on
    page, keys = build(plan, Maker(plan)), plan.settings
    _, address, _ = page.launch(
        server_name=keys.host,
        server_port=keys.port,
        share=False,
        inline=False,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        theme=THEME,
        css=STYLE,
    )
    return page, address


def serve(plan: DemoPlan) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: see ``open_page``.
    """
    log.info("loading")
    page, address = open_page(plan)
    log.info("the page is at %s (Ctrl-C ends it)", address)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        log.info("ended")
    finally:
        page.close(verbose=False)
