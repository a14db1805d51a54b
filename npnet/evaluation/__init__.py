"""Comparisons of noise methods: methods x metrics on the same prompts and the same noise.

- ``plan``: what will be computed, checked before any model is loaded.
- ``evaluation``: the job; ``lacking`` says what of it is still to be computed.
- ``cells``: what was computed, on disk, under the digests of ``identity``; ``store`` finds it, ``gathering`` puts it
  together again in the order of the samples.
- ``comparison``: methods against each other, from their scores; also for an evaluation during training.
- ``results``: ``results.json``; ``samples_file``: ``samples.jsonl``; ``pictures``: ``images/``.

Nothing is imported here, so that a wrong command line is refused before torch is.
"""
