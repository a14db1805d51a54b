"""The collector: source noise, a golden candidate, two pictures and their scores; kept pairs go into shards.

Data flow: ``plan`` (checks; which samples, in which chunks) -> ``candidates`` (one batch: noise -> golden candidate ->
both pictures -> scores) -> ``selection`` (keep or why not) -> ``writer`` (shard and sidecar); ``runner`` makes a job of
it for ``npnet.work``, and ``cli`` is what ``python collect.py`` runs.
"""
