"""The model card of an exported network, and its curves."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from npnet.drawing.curves import Curves, plot_curves
from npnet.fit import PURPOSE
from npnet.networks import NoiseNetwork
from npnet.text import code, markdown
from npnet.training.accuracy import cell, worse
from npnet.training.record import Figures, HeldOut, Measure, Training

CURVES = "curves.png"
HUB_ID = re.compile(r"[\w-]+/[\w.-]+")
"""A model on the hub, and no folder of this machine."""
WINS = "winning rate against standard"
CARD = """---
{front}---
# {name}

{what}
{trained_for}{warning}

```python
{import_line}

network = {name}.from_pretrained("PATH_OR_HUB_ID")
golden_noise = network(noise, prompt_embeds, pooled_prompt_embeds)
```

{trained_on}
{start}
{held_out}
| last epoch | |
|---|---|
{metrics}

{curves}Settings: `training.json`.
"""
OURS = "Maps initial noise and a prompt to golden noise (Golden Noise for Diffusion Models, equations 6 to 9)."
OTHER = """Maps initial noise and a prompt to golden noise. Its class is `{place}`. To load the network, install this
class and name it (`noise.npnet.network={place}` in a command of `npnet`)."""
NAMES: dict[Measure, str] = {
    "mse": "MSE",
    "relative_mse": "MSE / MSE of the source noise",
    "direction_share": "share of golden direction",
}


def write_card(folder: Path, training: Training, network: type[NoiseNetwork]) -> None:
    """Write ``README.md`` into the folder of an exported ``network``."""
    rows = "\n".join(
        f"| {markdown(name)} | {value} |" for name, value in sorted(training["last_epoch_metrics"].items())
    )
    ours = network.import_line().startswith("from npnet ")
    found = training["held_out"].get("after") if training["held_out"] else None
    fault = None if found is None else worse(found)
    text = CARD.format(
        name=network.__qualname__,
        front=front_matter(training.get(PURPOSE, {}), found),
        trained_for=trained_for(training.get(PURPOSE, {})),
        warning="" if fault is None else f"\n**Warning**: {fault}.\n",
        what=OURS if ours else OTHER.format(place=network.place()),
        import_line=network.import_line(),
        trained_on=trained_on(training),
        start=markdown(f"{training['start'][0].upper()}{training['start'][1:]}.") + "\n" if training["start"] else "",
        held_out=held_out_table(training["held_out"]),
        metrics=rows,
        curves=f"![Curves]({CURVES})\n\n" if (folder / CURVES).is_file() else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def front_matter(purpose: Mapping[str, Any], measured: Figures | None) -> str:
    """Return the metadata of a card in the form that the hub reads.

    Args:
        purpose: see ``npnet.training.export.purpose``.
        measured: the figures on the validation pairs, see ``Measurement.figures``; None where there are none.
    """
    head: dict[str, Any] = {
        "tags": ["npnet", "golden-noise", "initial-noise"],
        "library_name": "npnet",
        "pipeline_tag": "text-to-video" if "num_frames" in (purpose.get("backbone") or {}) else "text-to-image",
    }
    path = (purpose.get("backbone") or {}).get("path")
    if isinstance(path, str) and HUB_ID.fullmatch(path):
        head["base_model"] = path
    head |= {key: purpose[key] for key in ("license", "datasets") if purpose.get(key)}
    if measured is not None:
        metrics = [
            {"type": name, "name": word, "value": round(value, 6)}
            for name, word in NAMES.items()
            if (value := measured[name]["value"]) is not None
        ]
        data = {"name": "validation pairs", "type": "noise-pairs"}
        task = {"type": head["pipeline_tag"], "name": "golden noise"}
        results = [{"task": task, "dataset": data, "metrics": metrics}]
        head["model-index"] = [{"name": "NPNet", "results": results}]
    return yaml.safe_dump(head, sort_keys=False)


def trained_for(purpose: Mapping[str, Any]) -> str:
    """Return what a network is for, in words; empty where its pairs do not state it."""
    if not purpose:
        return ""
    backbone = purpose.get("backbone") or {}
    digest = f"\nSHA-256 of the pairs: {code(purpose['shards_sha256'])}.\n" if purpose.get("shards_sha256") else ""
    if not backbone:
        return digest
    name = str(backbone.get("_target_", "")).rpartition(".")[2]
    path = f" ({code(backbone['path'])})" if backbone.get("path") else ""
    noise = ", ".join(map(str, purpose.get("noise") or ()))
    made = f"The golden noise of its pairs was made by {markdown(noise)}"
    if "objective" in purpose:
        made = f"It was trained on pictures (`objective={purpose['objective']}`)"
    return (
        f"\nTrained for {markdown(name)}{path}. {made} at {purpose.get('num_inference_steps')} steps and guidance "
        f"scale {purpose.get('guidance_scale')}.\n{digest}"
    )


def trained_on(training: Training) -> str:
    """Return what a network was trained on, and in which metrics its gains are no evidence."""
    found = training.get(PURPOSE, {}).get("optimised_for", ())
    marked = ", ".join(map(markdown, found))
    if "pairs" not in training:
        lines = [
            f"Trained without pairs in {training['steps']} steps, each on fresh noise, validated on "
            f"{training['validation_noises']} noises of other prompts. This objective is experimental.",
            f"Optimised for: {marked or 'no metric'}. A score of such a metric is not independent evidence.",
        ]
        return "\n".join(lines)
    shards = training["settings"]["data"]["shards"]
    places = ", ".join(map(code, [shards] if isinstance(shards, str) else shards))
    selected_by = ", ".join(map(markdown, training["selected_by"])) or "nothing"
    lines = [
        f"Trained on {training['pairs']} pairs of {places}, validated on {training['validation_pairs']} pairs "
        "of other prompts.",
        f"Pairs selected by: {selected_by}. The network is optimised for such a metric, so its score is not "
        "independent evidence.",
        *([f"Also optimised, because the network it started from was trained that way: {marked}."] if marked else []),
    ]
    return "\n".join(lines)


def held_out_table(held_out: HeldOut) -> str:
    """Return the figures on validation pairs as a table; empty where there are none."""
    if not held_out:
        return ""
    after, columns = held_out["after"], ["after"]
    measured = [after]
    if "before" in held_out:
        columns, measured = ["before", *columns], [held_out["before"], *measured]
    lines = [
        f"On the {after['count']} validation pairs, which also chose the checkpoint ({after['num_prompts']} prompts; "
        "95 % confidence intervals over prompts):",
        "",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, word in NAMES.items():
        cells = [cell(figures[name]) for figures in measured]
        lines.append(f"| {word} | {' | '.join(cells)} |")
    if "change" in held_out:
        lines += ["", f"Paired change of the MSE: {cell(held_out['change']['mse'], '+')}."]
    return "\n".join([*lines, ""])


def draw_curves(metrics: Path, target: Path) -> None:
    """Draw ``metrics.csv`` over the epochs: errors, direction share, gates, and winning rates where there are any."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = {name: [(int(r["epoch"]) + 1, float(r[name])) for r in rows if r[name]] for name in rows[0]} if rows else {}
    wins = {n: v for n, v in table.items() if n.endswith("/winning_rate") and v}
    panels = {
        "squared error": {n: table[n] for n in ("train/mse", "val/mse") if table.get(n)},
        "share of the golden direction": {n: table[n] for n in ("val/direction_share",) if table.get(n)},
        "reward": {n: table[n] for n in ("train/reward", "val/reward") if table.get(n)},
        "error of the clean latents, as a share of standard noise's": {
            n: table[n] for n in ("val/relative_x0_error",) if table.get(n)
        },
        "change and diversity": {n: table[n] for n in ("val/change", "val/diversity") if table.get(n)},
        "raw gates": {n: table[n] for n in ("alpha", "beta") if table.get(n)},
        WINS: {n.removeprefix("evaluation/").removesuffix("/winning_rate"): v for n, v in wins.items()},
    }
    drawn = [Curves(title, lines, 0.5 if title == WINS else None) for title, lines in panels.items() if lines]
    if drawn:
        target.write_bytes(plot_curves(drawn))
