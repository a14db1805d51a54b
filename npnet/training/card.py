"""The model card of an exported network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = """---
tags: [npnet, golden-noise, initial-noise]
library_name: npnet
---
# NPNet

Maps initial noise and a prompt to golden noise (Golden Noise for Diffusion Models, equations 6 to 9).

```python
from npnet import NPNet
network = NPNet.from_pretrained("PATH_OR_HUB_ID")
golden_noise = network(noise, prompt_embeds, pooled_prompt_embeds)
```

Trained on {pairs} pairs of `{shards}`, validated on {validation_pairs} pairs of other prompts.
Pairs selected by: {selected_by}. A score of that metric is optimised for this network, and no independent evidence.

| last epoch | |
|---|---|
{metrics}

Settings: `training.json`.
"""


def write_card(folder: Path, training: Mapping[str, Any]) -> None:
    """Write ``README.md`` into an exported network's folder."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in sorted(training["last_epoch_metrics"].items()))
    text = CARD.format(
        pairs=training["pairs"],
        validation_pairs=training["validation_pairs"],
        shards=training["settings"]["data"]["shards"],
        selected_by=", ".join(training["selected_by"]) or "nothing",
        metrics=rows,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
