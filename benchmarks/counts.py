"""Count the shipped backbones, metrics and networks on a fake GPU, and write the counts beside the code.

python benchmarks/counts.py [GROUP ...]            backbone, metric, network; by default all
python benchmarks/counts.py GROUP=NAME ...         of a group, these alone
python benchmarks/counts.py docs                   write the table of docs/hardware.md from the counts
"""

import json
import sys
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from npnet.costs.counts import FOLDER, plain
from npnet.costs.gpus import GPU, chosen
from npnet.costs.table import jobs, markdown, rows
from npnet.description import imported
from npnet.instantiate import Node, build
from npnet.paths import config_dir, options

PAGE = Path(__file__).resolve().parent.parent / "docs" / "hardware.md"
COUNT = {
    "backbone": "npnet.costs.runtime.models:count_backbone",
    "metric": "benchmarks.scorers:count_metric",
    "network": "npnet.costs.runtime.networks:count_network",
}
BEGIN, END = "<!-- made by python benchmarks/counts.py docs -->\n", "<!-- end -->"


def names(group):
    """Return the shipped YAMLs of a group."""
    return list(options(group, [config_dir()]))


@cache
def described(group, name):
    """Return what a YAML describes; of a network, its keys."""
    value = f"[{name}]" if group == "metric" else name
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        node = OmegaConf.to_container(compose("plan", [f"{group}={value}"])[group], resolve=True)
    if group == "network":
        return Node("network", node)
    return build(node[name] if group == "metric" else node, group)


def counted(group, name):
    """Count a YAML anew."""
    return imported(COUNT[group])(name, described(group, name))


def table():
    """Return the table of the page."""
    real = [name for name in names("backbone") if described("backbone", name).domain == "any"]
    metrics = {"hpsv2": described("metric", "hpsv2")}
    found = [jobs(name, described("backbone", name), metrics) for name in real]
    return markdown(rows(found, chosen(GPU()), 1000, 1000))


def main(groups):
    """Write the counts of groups."""
    if groups == ["docs"]:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
        return
    for asked in groups or ["backbone", "metric", "network"]:
        group, _, only = asked.partition("=")
        file = FOLDER / f"{group}.json"
        found = json.loads(file.read_text()) if only else {}
        for name in [only] if only else names(group):
            print(f"{group}={name}", flush=True)
            found[name] = plain(counted(group, name))
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps({name: found[name] for name in names(group) if name in found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
