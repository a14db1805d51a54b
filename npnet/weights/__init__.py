"""Weights and hub files: where they lie and what is missing there, how they are read, and how they are written.

``sources`` and ``files`` import no torch, so that a description can look at the disk; ``tensors`` and ``tokenizers``
load; ``writing`` writes. Errors name the field that the caller gives (``path``), and whoever knows the label adds it
(``errors.under``).
"""
