"""docs/frontier.md from an evaluation: its table, its plot and its contact sheet.

    python evaluate.py experiment=frontier_evaluate noise.unet.network_path=DIR noise.unet_best_of_2.network_path=DIR
    python benchmarks/frontier.py EVALUATION docs

Prints the table as Markdown; writes ``frontier.png`` and ``frontier_sheet.png`` into the second folder.
"""

import sys
from pathlib import Path

from npnet.report import frontier

METRICS = {"shapes_judge": 100, "shapes_scorer": 100}
SPACES = ("shapes_positions", "pixels")

if __name__ == "__main__":
    folder, docs = map(Path, sys.argv[1:])
    methods = frontier.read_methods(folder)
    table = frontier.rows(methods, list(METRICS), SPACES)
    print(frontier.to_markdown(table, METRICS, SPACES))
    for one, other in (("unet_best_of_2", "best_of_5"), ("unet", "best_of_5"), ("unet", "npnet")):
        if {one, other} <= set(methods):
            found = frontier.paired(methods, one, other, "shapes_judge")
            low, high = found.difference_interval
            gain = 100 * found.mean_difference
            print(f"judge, {one} less {other}: {gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    for label, method in methods.items():
        for space in SPACES:
            share, ends, count = frontier.share_where_right(method, methods["standard"], space, "shapes_judge")
            low, high = (100 * end for end in ends)
            print(f"{label}, {space}, {count} prompts all right: {100 * share:.0f} % [{low:.0f}, {high:.0f}]")
    frontier.plot(table, "shapes_judge", "shapes_positions", docs / "frontier.png")
    frontier.contact_sheet(methods, 3, "shapes_judge", docs / "frontier_sheet.png")
