"""docs/frontier.md from an evaluation: its table, its plot and its contact sheet.

    python evaluate.py experiment=frontier_evaluate output_dir=EVALUATION
    python benchmarks/frontier.py EVALUATION docs

Prints the table as Markdown; writes ``frontier.png`` and ``frontier_sheet.png`` into the second folder.
"""

import sys
from pathlib import Path

from npnet.report import diversity, frontier, markdown

METRICS = ("shapes_judge", "shapes_scorer")
PAIRS = (
    ("best_of_2_npnet_reward", "best_of_5"),
    ("best_of_2_npnet_half_shift", "best_of_5"),
    ("best_of_2_npnet", "best_of_5"),
    ("npnet_reward", "best_of_5"),
    ("npnet", "best_of_5"),
    ("npnet_reward", "npnet"),
    ("npnet_half_shift", "npnet"),
    ("npnet", "npnet_paper"),
    ("npnet", "inversion"),
)

if __name__ == "__main__":
    folder, docs = map(Path, sys.argv[1:])
    results = frontier.read(folder)
    print(frontier.to_markdown(results, METRICS))
    print(markdown.table(diversity.heading(results), diversity.rows(results)))
    print(markdown.table(diversity.noise_heading(), diversity.noise_rows(results)))
    for one, other in PAIRS:
        if {one, other} <= results["methods"].keys():
            found = results["methods"][one]["versus"][other]["shapes_judge"]
            low, high = found["difference_interval"]
            gain = 100 * found["mean_difference"]
            print(f"judge, {one} less {other}: {gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    frontier.plot(results, "shapes_judge", "shapes_positions", docs / "frontier.png")
    frontier.contact_sheet(folder, results, 3, "shapes_judge", docs / "frontier_sheet.png")
