"""Loaded models: the part of ``backbones`` that needs torch.

Vocabulary: ``noise`` is x_T ~ N(0, I) before any scheduler scaling; ``latents`` is the state x_t at a ``timestep``,
``(B, C, *grid)``; ``noise_pred`` is epsilon for variance-preserving families, whatever the checkpoint predicts, and
velocity for flow matching. It is always float32 and after guidance. x_t = alpha_t x_0 + sigma_t epsilon; flow matching
has alpha_t = 1 - t, sigma_t = t and velocity = epsilon - x_0.

Guidance scales are in the diffusers convention, ``uncond + guidance_scale * (cond - uncond)``: 1 is the conditional
prediction alone. The paper's equation 3 writes (w + 1) cond - w uncond, so its w is ``guidance_scale`` - 1. But its
published settings (5.5, 3.5, 5.0, inversion 1.0) are the values passed to diffusers.
"""
