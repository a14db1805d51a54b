"""Training of the denoiser on encoded pictures of training prompts, with frozen text encoders."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from npnet.shapes.grammar import parse, training_prompts
from npnet.shapes.kinds import Pipeline
from npnet.shapes.sampling import encode_prompts, time_ids
from npnet.shapes.training import Progress, WeightAverage, learning_rate, set_learning_rate, stream
from npnet.shapes.variants import Variant

__all__ = ["snapshot_steps", "train_unet"]

BATCH = 56
PEAK_LEARNING_RATE = 1.1e-3
AVERAGE_DECAY = 0.998
DROPPED = 0.12
"""Share of prompts replaced by zeros, for classifier-free guidance."""
MAX_WEIGHT = 40.0


def snapshot_steps(variant: Variant) -> list[int]:
    """Return after how many steps the averaged weights are kept: every so often, and at the end."""
    return sorted({*range(variant.first_snapshot, variant.unet_steps, variant.snapshot_every), variant.unet_steps})


def train_unet(variant: Variant, pipeline: Pipeline, data: dict[str, Tensor], folder: Path) -> None:
    """Train the pipeline's denoiser to predict the noise and writes its snapshots, ``unet-STEP.safetensors``.

    The squared error is weighted by min(1 / alpha_bar, 40), which is the error of the velocity. Unweighted, a wrong
    layout at the first timesteps costs nearly nothing, since the layout can be read off the noisy latents at all
    later ones: the denoiser then reads the noise and not the words "left of".
    """
    alphas = pipeline.scheduler.alphas_cumprod
    texts = training_prompts()
    embeds, pooled = encode_prompts(pipeline, texts)
    position = {text: index for index, text in enumerate(texts)}
    other_telling = torch.tensor([position[parse(text).reversed().text()] for text in texts])

    unet = pipeline.unet.requires_grad_(True).train()
    average = WeightAverage(unet, AVERAGE_DECAY)
    optimizer = torch.optim.AdamW(unet.parameters(), weight_decay=0.01, fused=True)
    generator = stream(variant, "unet data")
    progress = Progress("unet", variant.unet_steps, 30.0)
    added_ids = time_ids(BATCH)
    for step in range(variant.unet_steps):
        rows = torch.randint(len(data["latents"]), (BATCH,), generator=generator)
        clean = data["latents"][rows].float()
        prompts = data["prompts"][rows]
        prompts = torch.where(torch.rand(BATCH, generator=generator) < 0.5, prompts, other_telling[prompts])
        kept = (torch.rand(BATCH, generator=generator) >= DROPPED).float()[:, None]
        timesteps = _draw_timesteps(len(alphas), generator)
        alpha = alphas[timesteps][:, None, None, None]
        noise = torch.randn(clean.shape, generator=generator)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        added = {"text_embeds": pooled[prompts] * kept, "time_ids": added_ids}
        states = embeds[prompts] * kept[..., None]
        noise_pred = unet(noisy, timesteps, encoder_hidden_states=states, added_cond_kwargs=added).sample
        loss = ((1 / alpha).clamp(max=MAX_WEIGHT) * (noise_pred - noise).square()).mean()
        set_learning_rate(optimizer, learning_rate(step, variant.unet_steps, PEAK_LEARNING_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update()
        progress(step + 1, f"loss {loss.item():.3f}")
        if step + 1 in snapshot_steps(variant):
            save_file(average.state_dict(), folder / f"unet-{step + 1:06d}.safetensors")
    unet.eval().requires_grad_(False)


def _draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Return half uniform, half with a density that grows with the timestep, where relations are decided."""
    uniform = torch.rand(BATCH, generator=generator)
    rising = torch.rand(BATCH, generator=generator).sqrt()
    choice = torch.rand(BATCH, generator=generator) < 0.5
    return (torch.where(choice, uniform, rising) * count).long().clamp(max=count - 1)
