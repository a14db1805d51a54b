"""``evaluate.py`` on the built-in model with all six metrics at once, each tiny and random, from local folders."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from npnet.paths import shapes_weights

ROOT = Path(__file__).parents[2]
SIX = ("hpsv2", "pickscore", "aes", "imagereward", "clipscore", "mps")


def overrides(sources, labels):
    """The command line that makes metrics load tiny folders in place of the published checkpoints."""
    for label in labels:
        for key, value in sources[label][1].items():
            yield f"metric.{label}.{key}={'null' if value is None else value}"


@pytest.mark.skipif(not shapes_weights().is_dir(), reason="the built-in model's weights are not built")
def test_six_metrics_score_the_same_pictures_in_one_run(sources, tmp_path):
    command = [
        *(sys.executable, "evaluate.py", "noise=[standard,inversion]", f"metric=[{','.join(SIX)}]"),
        *("prompts.limit=3", "seeds.list=[0,1]", "num_inference_steps=2", "num_pictures=2", "num_resamples=200"),
        *(f"output_dir={tmp_path / 'run'}", *overrides(sources, SIX)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["smoke"] is True
    assert list(results["metrics"]) == list(SIX)
    for label in SIX:
        facts = results["metrics"][label]
        assert facts["random_weights"] is True
        assert any(note.startswith("smoke") for note in facts["notes"])
        for method in ("standard", "inversion"):
            entry = results["methods"][method]["metrics"][label]
            assert (entry["count"], entry["missing"]) == (6, 0)
            assert entry["mean"] is not None
        assert results["methods"]["inversion"]["versus_standard"][label]["count"] == 6
    scales = {label: results["metrics"][label]["display_scale"] for label in SIX}
    assert scales == {"hpsv2": 100, "pickscore": 1, "aes": 1, "imagereward": 100, "clipscore": 100, "mps": 1}
    assert "random weights in hpsv2" in done.stdout
