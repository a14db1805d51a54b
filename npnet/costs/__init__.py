"""What a run needs before it is begun: will it fit, how long will it take, what does it write.

``counts`` are of the parts of backbones, metrics and networks: FLOPs, launches, bytes. Those of the shipped YAMLs lie
in ``counted/``; those of one's own are counted on request by ``runtime``, on a fake GPU, and kept. ``estimate`` is the
arithmetic from there to memory and hours on a GPU (``gpus``). Nothing but ``runtime`` imports torch.
"""
