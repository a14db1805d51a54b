"""Training of the autoencoder, and the latents it gives for the generator to learn from."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from npnet.shapes import IMAGE_SIZE, LATENT_CHANNELS
from npnet.shapes.grammar import parse, scenes, training_prompts
from npnet.shapes.kinds import Autoencoder
from npnet.shapes.scenes import draw
from npnet.shapes.training import Progress, learning_rate, seed_for, set_learning_rate, stream
from npnet.shapes.variants import Variant

__all__ = ["encode_training_set", "train_vae"]

SCALING_FACTOR = 0.13025
"""That of SDXL; the latents are rescaled so that it is right here too."""
BATCH = 32
PEAK_LEARNING_RATE = 2.5e-3
KL_WEIGHT = 1e-6


def train_vae(variant: Variant) -> Autoencoder:
    """Train an autoencoder from the variant's seed on drawn scenes of all prompts: it knows no prompts."""
    torch.manual_seed(seed_for(variant, "vae weights"))
    vae: Autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=variant.vae_channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
        scaling_factor=SCALING_FACTOR,
        # Has no meaning at this size, but SDXL pipelines ask for it.
        force_upcast=False,
    )
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=0.0)
    everything = scenes()
    generator = stream(variant, "vae data")
    progress = Progress("vae", variant.vae_steps)
    for step in range(variant.vae_steps):
        picks = torch.randint(len(everything), (BATCH,), generator=generator).tolist()
        images = 2 * draw([everything[pick] for pick in picks], generator) - 1
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample(generator)).sample
        loss = F.mse_loss(decoded, images) + 0.1 * F.l1_loss(decoded, images) + KL_WEIGHT * posterior.kl().mean()
        set_learning_rate(optimizer, learning_rate(step, variant.vae_steps, PEAK_LEARNING_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        progress(step + 1, f"loss {loss.item():.4f}")
    vae.eval().requires_grad_(False)
    picks = torch.randint(len(everything), (512,), generator=generator).tolist()
    _standardise(vae, draw([everything[pick] for pick in picks], generator))
    return vae


@torch.no_grad()
def _standardise(vae: Autoencoder, images: Tensor) -> None:
    """Fold a shift and a scale of each latent channel into the 1 x 1 convolutions on both sides of the latents.

    Afterwards ``scaling_factor * latents`` has mean 0 and variance 1 in every channel, as the noise has.
    """
    latents = vae.encode(2 * images - 1).latent_dist.mode()
    mean = latents.mean((0, 2, 3))
    scale = latents.std((0, 2, 3)) * SCALING_FACTOR
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= scale[None, :, None, None]
    before.bias[:LATENT_CHANNELS] -= mean
    before.bias[:LATENT_CHANNELS] /= scale
    before.weight[:LATENT_CHANNELS] /= scale[:, None, None, None]
    before.bias[LATENT_CHANNELS:] -= 2 * scale.log()


@torch.no_grad()
def encode_training_set(variant: Variant, vae: Autoencoder) -> dict[str, Tensor]:
    """Draw and encodes the generator's training pictures, of training prompts alone.

    Returns:
        ``latents`` (N, 4, 16, 16) float16, times the scaling factor, unit variance; ``prompts`` (N,) int64 indices into
        ``training_prompts()``.
    """
    texts = training_prompts()
    told = [parse(text) for text in texts]
    generator = stream(variant, "unet pictures")
    indices = torch.randint(len(texts), (variant.num_latents,), generator=generator)
    progress = Progress("latents", variant.num_latents)
    latents = []
    for chunk in indices.split(256):
        images = draw([told[index] for index in chunk.tolist()], generator)
        encoded = vae.encode(2 * images - 1).latent_dist.mode()
        latents.append((encoded * vae.config.scaling_factor).half())
        progress(sum(map(len, latents)))
    return {"latents": torch.cat(latents), "prompts": indices}
