"""The report of an evaluation, in all its forms.

- ``wording``: the format of numbers, and the rows of the tables as texts, for every form.
- ``tables``: on the terminal; ``markdown``: ``results.md``; ``page``: ``report.html``, with ``plots`` and ``exhibits``,
  the pictures that it shows.
- ``sweep``: several finished evaluations as one table.
- ``command``: the command ``evaluate.py``; ``making``: the evaluation, then its report.
"""
