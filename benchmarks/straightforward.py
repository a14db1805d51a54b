"""The straightforward way to pairs, with diffusers' own pipeline; and a random model with SDXL's layers.

What ``benchmarks/collect.py`` compares collect.py with.
"""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
import transformers
from torch import Tensor

from collect.collection import CollectJob
from npnet import seeding

LETTERS = "abcdefghijklmnopqrstuvwxyz"
Pair = tuple[Tensor, float, float]
"""Golden noise ``(C, h, w)`` on the CPU, and the scores of the source and the golden picture."""


def write_model(folder: Path, channels: int) -> None:
    """Write a random pipeline with SDXL's layers, and a random CLIP that scores its pictures."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    words = [*LETTERS, *[f"{letter}</w>" for letter in LETTERS], "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)
    width, heads = 2 * channels, max(1, channels // 64)
    text = {"vocab_size": len(words), "hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    marks = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    config = transformers.CLIPTextConfig(**text, **marks, num_hidden_layers=4, num_attention_heads=2 * heads)
    unet = diffusers.UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(channels, 2 * channels, 4 * channels),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(heads, 2 * heads, 4 * heads),
        cross_attention_dim=2 * width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=channels,
        projection_class_embeddings_input_dim=width + 6 * channels,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(channels // 2, channels, channels, channels),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    noise_schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    diffusers.StableDiffusionXLPipeline(
        unet=unet,
        vae=vae,
        text_encoder=transformers.CLIPTextModel(config),
        text_encoder_2=transformers.CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=diffusers.DDIMScheduler(**noise_schedule, clip_sample=False, set_alpha_to_one=False),
        add_watermarker=False,
    ).save_pretrained(folder / "model")
    small = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    clip = transformers.CLIPConfig.from_dict(
        {
            "text_config": {"vocab_size": len(words), **small, **marks, "projection_dim": 64},
            "vision_config": {**small, "patch_size": 32, "projection_dim": 64},
            "projection_dim": 64,
        }
    )
    transformers.CLIPModel(clip).save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")


@torch.no_grad()
def straightforward(job: CollectJob, chunk: int, batch_size: int = 1) -> list[Pair]:
    """Make the pairs of a chunk as one would with diffusers, so many at once."""
    maker, settings = job.maker, job.plan.settings
    pipe, (metric,) = maker.backbone.pipeline, maker.scorers.values()
    device, dtype = maker.backbone.device, maker.backbone.dtype
    if pipe.vae.dtype != dtype:  # ours decodes in float32; the pipeline starts from its own dtype
        pipe.vae.to(dtype)
    num_steps, guidance_scale = settings.num_inference_steps, settings.guidance_scale
    height, width = maker.backbone.description.height, maker.backbone.description.width
    samples, made = job.plan.chunk(chunk), []
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]
        prompts = [sample.prompt for sample in part]
        noise = seeding.source_noises([sample.seed for sample in part], maker.backbone.latent_shape())
        noise = noise.to(device, dtype)
        embeds, negative, pooled, negative_pooled = pipe.encode_prompt(prompts, device=device)
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2 * len(part), device=device, dtype=dtype)
        told = {"text_embeds": torch.cat([negative_pooled, pooled]), "time_ids": sizes}
        pipe.scheduler.set_timesteps(num_steps, device=device)
        first, second = pipe.scheduler.timesteps[:2]
        embeds = torch.cat([negative, embeds])
        strong = guided(pipe.unet, noise, first, guidance_scale, embeds, told)
        lower = pipe.scheduler.step(strong, first, noise).prev_sample
        weak = guided(pipe.unet, lower, first, 1.0, embeds, told)
        (a0, s0), (a1, s1) = (
            (product**0.5, (1 - product) ** 0.5)
            for product in (float(pipe.scheduler.alphas_cumprod[int(t)]) for t in (first, second))
        )
        golden = a0 / a1 * lower + (s0 - a0 * s1 / a1) * weak
        scores = []
        for latents in (noise, golden):
            drawn = pipe(
                prompts,
                height=height,
                width=width,
                latents=latents,
                num_inference_steps=num_steps,
                guidance_scale=guidance_scale,
                output_type="pt",
            )
            scores.append(metric.score(drawn.images, prompts).tolist())
        made += zip(golden.float().cpu(), *scores, strict=True)
    return made


def guided(
    unet: torch.nn.Module, latents: Tensor, timestep: Tensor, scale: float, embeds: Tensor, told: dict[str, Tensor]
) -> Tensor:
    """Return the guided prediction; both branches run whatever the scale."""
    both = torch.cat([latents, latents])
    branches = unet(both, timestep, encoder_hidden_states=embeds, added_cond_kwargs=told)[0]
    without, with_prompt = branches.chunk(2)
    return without + scale * (with_prompt - without)
