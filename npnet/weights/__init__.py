"""Weights and hub files: finding, checking, reading and writing them.

``sources`` and ``files`` import no torch, so that descriptions can check the disk. ``tensors`` and ``tokenizers`` load,
and ``writing`` writes. Errors name the field that the caller gives (``path``); the caller that knows the label adds it
(``errors.under``).
"""
