"""The data set card: ``README.md`` beside the shards, in the form that the Hugging Face hub reads."""

from __future__ import annotations

import json
import math
from typing import Any

from collect.survey import Survey
from npnet.metrics.statistics import wilson
from npnet.text import code, markdown, visible

CARD = "README.md"
CONTACT_SHEET, GAINS = "kept_pairs.webp", "gains.png"
"""The pictures that it shows, files beside it."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's size categories, by number of samples."""

TEXT = """\
# Noise pairs

{origin}

| | |
|---|---|
| pairs tried | {tried} |
| pairs kept | {kept} |
| keep rate | {keep_rate} |
| pairs in the shards | {written} |
| shards, bytes | {shards}, {num_bytes} |
{rows}
Selected by **{selected_by}**: a network that is trained on these pairs is optimised for it, and its score there is no
independent evidence.

{pictures}
## Members of a pair

Each sample of `shard-NNNNNN.tar` is a pair; its members share the key *prompt number - seed*.

| member | holds |
|---|---|
| `noise.safetensors` | `source_noise` and `golden_noise`, float16 {shape}, before the scheduler's scaling |
| `json` | `prompt`, `prompt_index`, `seed`, `scores` {{metric: {{source, golden}}}}, `kept` |
{members}
`shard-NNNNNN.json` beside each tar lists every pair that was tried, the rejected ones with their scores and reasons,
the tar's SHA-256, the versions and the cost. `request.json` is the whole configuration.

## Loading

```python
# with npnet: checks checksums and every member, reads no pickle
from npnet.data.shards import read_pairs

for pair in read_pairs("DIR"):
    pair.source_noise, pair.golden_noise, pair.prompt
```

```bash
python train.py data.shards=DIR
```

```python
# with webdataset
import json
import safetensors.torch
import webdataset

for sample in webdataset.WebDataset({urls}, shardshuffle=False):
    noises, record = safetensors.torch.load(sample["noise.safetensors"]), json.loads(sample["json"])
```

```python
# with datasets
from datasets import load_dataset

for row in load_dataset("DIR_OR_HUB_ID", split="train", streaming=True):
    noises = safetensors.torch.load(row["noise.safetensors"])
```

## Request

```json
{request}
```
"""


def card(found: Survey, shape: tuple[int, ...] | None, members: set[str], license: str | None = None) -> str:
    """Write the card of a finished folder; equal folders have equal cards.

    Args:
        found: the folder.
        shape: of a noise, ``(C, *grid)``; None where there is no pair.
        members: names of the members that the first pair has.
        license: of the data set, by the hub's identifiers, or None.
    """
    request = found.request
    pictures = [f"![How the score gains are distributed]({GAINS})\n"]
    if (found.folder / CONTACT_SHEET).is_file():
        pictures.append(f"![Kept pairs: source left, golden right]({CONTACT_SHEET})\n")
    rest = {
        "embeds.safetensors": "what the text encoders made of the prompt: `prompt_embeds` and what else the model has",
        "source.webp": "the picture of the source noise",
        "golden.webp": "the picture of the golden noise",
    }
    body = TEXT.format(
        origin=_origin(request),
        tried=f"{found.num_tried:,}",
        kept=f"{found.num_kept:,}",
        keep_rate=keep_rate_text(found),
        written=f"{found.num_written:,}",
        shards=len(found.shards),
        num_bytes=f"{found.num_bytes:,}",
        rows="".join(f"| {markdown(name)} | {markdown(value)} |\n" for name, value in _rows(found)),
        selected_by=", ".join(map(markdown, request.get("selected_by") or [])) or "nothing",
        pictures="\n".join(pictures),
        shape="(C, *grid)" if shape is None else f"({', '.join(map(str, shape))})",
        members="".join(f"| `{name}` | {text} |\n" for name, text in rest.items() if name in members),
        urls=f'"DIR/shard-{{000000..{len(found.shards) - 1:06d}}}.tar"',
        request=visible(json.dumps(request, indent=2, ensure_ascii=False), keep="\n"),
    )
    return f"---\n{_front_matter(found, license)}---\n\n{body}"


def keep_rate_text(found: Survey) -> str:
    """Return the share of kept pairs with its 95 % interval."""
    if not found.num_tried:
        return "unknown"
    low, high = wilson(found.num_kept, found.num_tried)
    return f"{found.num_kept / found.num_tried:.1%} [{low:.1%}, {high:.1%}]"


def gain_text(gains: list[float]) -> str:
    """Return a mean gain with its 95 % interval over pairs, and their count."""
    mean = math.fsum(gains) / len(gains)
    if len(gains) < 2:
        return f"{mean:+.3g}, n = {len(gains)}"
    deviation = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1))
    half = 1.96 * deviation / math.sqrt(len(gains))
    return f"{mean:+.3g} [{mean - half:+.3g}, {mean + half:+.3g}], n = {len(gains):,}"


def _rows(found: Survey) -> list[tuple[str, str]]:
    rows = [(f"rejected, {reason}", f"{count:,}") for reason, count in found.rejected.items()]
    for metric in found.metrics:
        gains = found.gains(metric)
        kept = [gain for gain, is_kept in gains if is_kept]
        rows.append((f"mean gain, {metric}, tried", gain_text([g for g, _ in gains]) if gains else "unknown"))
        rows.append((f"mean gain, {metric}, kept", gain_text(kept) if kept else "unknown"))
    counts = found.request.get("prompt_counts") or {}
    rows += [(f"prompts, {name}", f"{count:,}") for name, count in counts.items() if count]
    forwards = [shard.sidecar["cost"]["forwards"] for shard in found.shards if "cost" in shard.sidecar]
    if forwards and found.num_tried:
        rows.append(("denoiser forwards per pair tried", f"{sum(forwards) / found.num_tried:.4g}"))
    return rows


def _origin(request: dict[str, Any]) -> str:
    backbone = request.get("backbone") or {}
    noise = code(", ".join(request.get("noise") or {}))
    text = "Pairs of initial noise and golden noise for text-to-image diffusion, made by NPNet's collector"
    if backbone:
        name = backbone.get("path") or str(backbone.get("_target_", "")).rpartition(".")[2]
        text += f" with {code(name)}, noise method {noise}, {request.get('num_inference_steps')} steps"
        text += f", guidance scale {request.get('guidance_scale')}"
    text += "."
    source = request.get("filtered_from")
    if source:
        text += f" A selection of the pairs of {code(source['shards'])}, made by `collect.filter`."
    if request.get("converted_from"):
        text += " Converted from the published layout (npz and JSON lines) by `collect.convert`."
    return text


def _front_matter(found: Survey, license: str | None) -> str:
    from huggingface_hub import DatasetCardData  # brings an HTTP client, which only a finished card needs

    # the hub's loader looks into the first file for the columns, so an empty shard must not be it
    full = [f"{number:06d}" for number, shard in enumerate(found.shards) if shard.written]
    paths: str | list[str] = "shard-*.tar"
    if len(full) < len(found.shards):
        paths = [f"shard-{number}.tar" for number in full]
    size = next((name for limit, name in SIZES if found.num_written < limit), "1M<n<10M")
    data = DatasetCardData(
        license=license,
        pretty_name="Noise pairs",
        task_categories=["text-to-image"],
        size_categories=[size],
        tags=["npnet", "golden-noise", "initial-noise", "webdataset"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": paths}]}],
    )
    return data.to_yaml() + "\n"
