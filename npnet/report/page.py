"""The results as one HTML page, which loads nothing from elsewhere and so can be mailed and opened anywhere.

Its only script, ``sort.js``, sorts the tables; the page's policy allows no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from npnet.data.prompts import Sample
from npnet.engine.methods import MethodScores
from npnet.evaluation.contract import Results
from npnet.evaluation.plan import EvaluationPlan
from npnet.evaluation.training_seeds import NOTE
from npnet.report import diversity, exhibits, plots, wording
from npnet.text import count, visible
from npnet.work import atomic

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = (TEMPLATES / "sort.js").read_text()
SETTINGS_ABOVE = ("num_inference_steps", "guidance_scale", "sampler", "seed", "seeds", "batch_size", "num_resamples")
OPEN_ROWS = 12
"""Of methods against each other; more start folded."""


def write_report(results: Results, plan: EvaluationPlan, members: Mapping[str, MethodScores], output_dir: Path) -> None:
    """Write ``report.html`` of a finished evaluation, whose ``members`` are by their labels among its noise methods."""
    records = {label: members[wording.first_member(results, label)] for label in results["methods"]}
    kept = plan.samples[: plan.settings.num_kept(len(plan.samples))]
    page = render(results, kept, records, output_dir, plan.settings.num_pictures)
    atomic.write_bytes(output_dir / "report.html", page.encode())


def render(
    results: Results,
    samples: Sequence[Sample],
    records: Mapping[str, MethodScores],
    output_dir: Path,
    num_pictures: int,
) -> str:
    """Return the page.

    Args:
        results: content of ``results.json``.
        samples: those whose pictures were kept, the first of N.
        records: N scores of each method, for the scores under the pictures; of ``wording.first_member``.
        output_dir: where ``images/`` lies.
        num_pictures: samples shown side by side, in their order.
    """
    versus_standard, among = wording.pairs_versus_standard(results), wording.pairs_among_others(results)
    return template("report.html.j2").render(
        results=results,
        wording=wording,
        diversity=diversity,
        labels=list(results["methods"]),
        headline=wording.headline(results),
        smoke=wording.banner(results),
        in_short=[
            f"{sentence} {diversity.sentence(results, label)}".strip()
            for (label, _), sentence in zip(versus_standard, wording.in_short(results), strict=True)
        ],
        score_rows=wording.score_rows(results),
        versus_standard=wording.comparison_rows(results, versus_standard),
        among=wording.comparison_rows(results, among),
        seeds=NOTE if any("members" in method for method in results["methods"].values()) else "",
        among_is_open=len(among) * len(results["metrics"]) <= OPEN_ROWS,
        marked=any(e["optimised"] for m in results["methods"].values() for e in m["metrics"].values()),
        winning_rates=Markup(plots.plot_winning_rates(results, versus_standard)) if versus_standard else "",
        gains=Markup(plots.plot_gains(results, versus_standard)) if versus_standard else "",
        winning_rates_among=Markup(plots.plot_winning_rates(results, among)) if among else "",
        gains_among=Markup(plots.plot_gains(results, among)) if among else "",
        cost=Markup(plots.plot_score_against_cost(results)),
        exhibits=exhibits.first_exhibits(samples, records, results, output_dir, num_pictures),
        gain_names=exhibits.gain_names(records),
        script=Markup(SCRIPT),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        strips=exhibits.strips(samples, records, results, output_dir),
        picked_from=picked_from(len(samples), results["num_pairs"]),
        settings=settings_rows(results),
        configuration=json.dumps(results["settings"], indent=2, ensure_ascii=False),
    )


def template(name: str, folder: Path = TEMPLATES) -> Template:
    """Return a page's template, which shows strangers' text without any effect."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def picked_from(num_kept: int, num_pairs: int) -> str:
    """Say among which pairs the report looks for pictures, where ``keep_images`` kept only some."""
    return "all pairs" if num_kept == num_pairs else f"the first {count(num_kept, 'pair')}, whose pictures were kept"


def _visible(value: object) -> object:
    """Take from what is put into the page what a reader would not see; ``autoescape`` then takes the markup."""
    return value if isinstance(value, Markup) else visible(value, keep="\n\t")


def settings_rows(results: Results) -> list[tuple[str, str]]:
    """Return (key, value) of the settings that a reader asks for first."""
    settings = results["settings"]

    def target(node: Any) -> str:
        kind = str(node.get("_target_", "")).rpartition(".")[2]
        values = [f"{key}={value}" for key, value in node.items() if key != "_target_" and value is not None]
        return f"{kind}({', '.join(values)})"

    rows = [("backbone", target({k: v for k, v in settings["backbone"].items() if k != "settings"}))]
    rows += [(f"noise.{label}", target(node)) for label, node in settings["noise"].items()]
    rows += [(f"metric.{label}", target(node)) for label, node in settings["metric"].items()]
    rows += [(f"diversity.{label}", target(node)) for label, node in settings.get("diversity", {}).items()]
    rows += [("prompts", target(settings["prompts"]))]
    rows += [(key, json.dumps(settings[key])) for key in SETTINGS_ABOVE if key in settings]
    rows += [("device", ", ".join(results["device"]))]
    rows += [("versions", ", ".join(f"{name} {number}" for name, number in results["versions"].items()))]
    return rows
