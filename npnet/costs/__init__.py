"""Estimates before a run: does it fit, how long does it take, how much does it write?

``counts`` has FLOPs, kernel launches and bytes of the parts of backbones, metrics and networks. ``counted/`` holds
those of the shipped YAML files; ``runtime`` counts others on a fake GPU when needed, and they are kept. ``estimate``
computes memory and hours on a GPU (``gpus``) from them. Only ``runtime`` imports torch.
"""
