import csv
import json


def test_the_csv_holds_the_numbers_of_the_results(finished):
    results = json.loads((finished / "results.json").read_text())
    rows = list(csv.DictReader((finished / "results.csv").open(newline="")))
    assert [(row["method"], row["metric"]) for row in rows] == [
        (label, name) for label in results["methods"] for name in results["metrics"]
    ]
    for row in rows:
        method = results["methods"][row["method"]]
        assert float(row["mean"]) == method["metrics"][row["metric"]]["mean"]
        gain = method["versus_standard"][row["metric"]]["mean_difference"] if "versus_standard" in method else None
        assert (float(row["gain"]) if row["gain"] else None) == gain


def test_the_latex_is_rectangular_and_escapes_what_latex_reads(finished):
    text = (finished / "results.tex").read_text()
    parts = [part.split(r"\end{tabular}")[0] for part in text.split(r"\begin{tabular}")[1:]]
    for part, ampersands in zip(parts, (4, 2, 7, 4), strict=True):
        rows = [line for line in part.splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") for line in rows} == {ampersands}
    assert r"close, \% right" in text
    assert r"$^\dagger$" in text
