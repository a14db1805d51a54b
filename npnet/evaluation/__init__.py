"""Comparisons of noise methods: methods x metrics on the same prompts and the same noise.

- ``plan``: what will be computed, checked before any model is loaded.
- ``scoring``: the methods' pictures, scores and costs in memory; also what an evaluation during training calls.
- ``runner``: the same in resumable chunks.
- ``comparison``: methods against each other, from their scores; also for an evaluation during training.
- ``results``: chunks to ``results.json``; ``table`` and ``report`` show it, in the words of ``wording``.

Nothing is imported here, so that a wrong command line is refused before torch is.
"""
