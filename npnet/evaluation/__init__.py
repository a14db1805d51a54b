"""Comparisons of noise methods: methods x metrics on the same prompts and the same noise.

- ``plan``: the plan of an evaluation, checked before any model is loaded.
- ``evaluation``: the job; ``lacking`` finds what is still to be computed.
- ``cells``: the results on disk, under the digests of ``identity``; ``store`` finds them, and ``gathering`` puts them
  into the order of the samples.
- ``comparison``: compares methods by their scores, also in an evaluation during training.
- ``results``: ``results.json``; ``samples_file``: ``samples.jsonl``; ``pictures``: ``images/``.

Nothing is imported here, so that a wrong command line is refused before torch is.
"""
