"""The report of an evaluation, in all its forms.

- ``wording``: how numbers are written, and the rows of the tables as texts; every form uses it.
- ``tables``: on the terminal; ``markdown``: ``results.md``; ``page``: ``report.html``, with ``plots`` and ``exhibits``,
  the pictures that it shows.
- ``sweep``: several finished evaluations as one table.
- ``command``: what ``evaluate.py`` runs; ``making``: the evaluation, then its report.
"""
