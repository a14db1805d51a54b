"""Loaded models: everything of ``backbones`` that needs torch."""
