"""Diversity and noise as texts: the column beside quality and cost, and the full tables.

A figure names its space. Where nothing was measured, the column says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from npnet.evaluation.contract import Average, Diversity, Results, Spread
from npnet.report import formats, wording
from npnet.text import count, decimals

TITLE = "Diversity of the pictures of one prompt"
NOISE_TITLE = "Noise statistics"
NOISE = {
    "neighbour_correlation": ("neighbour correlation", 1),
    "low_frequency_share": ("low-frequency share, %", 100),
    "norm": ("norm", 1),
    "variance": ("variance", 1),
}
"""Measure -> how it is headed, and what it is multiplied by."""
EARLIER = "not measured by the version that made these results"


def columns(results: Results) -> list[str]:
    """Return the headings of the columns beside the scores: one for each space, or one that says why there is none."""
    found = _found(results)
    return [f"diversity ({space}), % of {found['against']}'s" for space in found["spaces"]] or ["diversity"]


def cells(results: Results, label: str) -> list[str]:
    """Return a method's cells of ``columns``: its mean pairwise distance as a share of the reference's."""
    found = _found(results)
    if found["absent"] is not None:
        return [found["absent"]]
    method = results["methods"][label]
    return [share_text(found, label, entry["distance"]) for entry in method.get("diversity", {}).values()]


def common_columns(several: Sequence[Results]) -> list[str]:
    """Return the headings of a table of several evaluations, for ``cells_under``: those of the one with most spaces."""
    return max(map(columns, several), key=len, default=[])


def cells_under(headings: Sequence[str], results: Results, label: str) -> list[str]:
    """Return a method's cells under given ``headings``; an evaluation without them says why in the first."""
    found = dict(zip(columns(results), cells(results, label), strict=True))
    if found.keys() & set(headings):
        return [found.get(name, formats.NONE) for name in headings]
    return [next(iter(found.values())), *[formats.NONE] * (len(headings) - 1)]


def share_text(found: Diversity, label: str, spread: Spread) -> str:
    """Write a share of the reference's diversity in percent; the reference has 100 by definition."""
    if label == found["against"]:
        return "100"
    return formats.with_interval(spread["share"], spread["share_interval"], 100, 0)


def sentence(results: Results, label: str) -> str:
    """Return a method's diversity as a sentence; nothing where none was measured."""
    found = _found(results)
    shares = [f"{text} % ({space})" for space, text in zip(found["spaces"], cells(results, label), strict=False)]
    return f"Diversity, of {found['against']}'s: {', '.join(shares)}." if shares else ""


def heading(results: Results) -> list[str]:
    """Return the heading of ``rows``."""
    of = f"% of {_found(results)['against']}'s"
    return ["method", "space", "mean distance", of, "difference", "Vendi score", of, "prompts"]


def rows(results: Results) -> list[list[str]]:
    """Return a row for each space and method, all spreads of a space with the same decimals; empty where absent."""
    found = _found(results)
    table = []
    for space, facts in found["spaces"].items():
        entries = {label: method["diversity"][space] for label, method in results["methods"].items()}
        distance, vendi = (_decimals(entry[kind] for entry in entries.values()) for kind in ("distance", "vendi"))
        unit = f" (in {facts['unit']})" if facts["unit"] else ""
        for label, entry in entries.items():
            spread, kinds = entry["distance"], entry["vendi"]
            difference = formats.with_interval(
                spread["difference"], spread["difference_interval"], 1, distance, signed=True
            )
            table.append(
                [
                    wording.shown(results, label),
                    space + unit,
                    formats.with_interval(spread["mean"], spread["interval"], 1, distance),
                    share_text(found, label, spread),
                    formats.NONE if label == found["against"] else difference,
                    formats.with_interval(kinds["mean"], kinds["interval"], 1, vendi),
                    share_text(found, label, kinds),
                    _prompts(spread),
                ]
            )
    return table


def noise_heading() -> list[str]:
    """Return the heading of ``noise_rows``."""
    return ["method", *(name for name, _ in NOISE.values())]


def noise_rows(results: Results) -> list[list[str]]:
    """Return a row for each method; empty where nothing is known of any noise."""
    known = {label: method["noise"] for label, method in results["methods"].items() if "noise" in method}
    if not any(entry["count"] for measures in known.values() for entry in measures.values()):
        return []
    digits = {name: _decimals((m[name] for m in known.values()), scale) for name, (_, scale) in NOISE.items()}
    return [
        [
            wording.shown(results, label),
            *(
                formats.with_interval(measures[name]["mean"], measures[name]["interval"], scale, digits[name])
                for name, (_, scale) in NOISE.items()
            ),
        ]
        for label, measures in known.items()
    ]


def notes(results: Results) -> list[str]:
    """Return notes for readers of the tables."""
    missing = sum(method["noise"]["norm"]["missing"] for method in results["methods"].values() if "noise" in method)
    noise = (
        [f"Nothing is known about {count(missing, 'noise')}, because an earlier version drew the picture"]
        if missing
        else []
    )
    return [*_notes(results, _found(results)), *noise]


def _notes(results: Results, found: Diversity) -> list[str]:
    if found["absent"] is not None:
        return [f"Diversity: {found['absent']}"]
    numbers = " to ".join(str(number) for number in dict.fromkeys(found["num_pictures"]))
    said = [
        f"Diversity: mean distance between two of a prompt's {numbers} pictures, and their effective number (Vendi "
        f"score); {count(found['num_prompts'], 'prompt')}; figures of different spaces cannot be compared"
    ]
    spreads = [entry for method in results["methods"].values() for entry in method["diversity"].values()]
    if any(entry["distance"]["shared_prompts"] < found["num_prompts"] for entry in spreads):
        said.append(
            "Some pictures have no features in a space: a prompt counts if all its pictures have features; for a share "
            "and a difference (the second number of prompts), with both methods"
        )
    random = [space for space, facts in found["spaces"].items() if facts["random_weights"]]
    said += [f"{', '.join(random)}: smoke test: random weights; these figures mean nothing"] if random else []
    return said


def _found(results: Results) -> Diversity:
    found = results.get("diversity")
    if found is None:
        return {"spaces": {}, "against": "", "num_pictures": [1, 1], "num_prompts": 0, "absent": EARLIER}
    return found


def _prompts(spread: Spread) -> str:
    numbers = dict.fromkeys((spread["count"], spread["shared_prompts"]))
    return " / ".join(map(str, numbers))


def _decimals(averages: Iterator[Average] | Iterator[Spread], scale: float = 1) -> int:
    intervals = [average["interval"] for average in averages]
    return decimals(scale * (high - low) for low, high in intervals if low is not None and high is not None)
