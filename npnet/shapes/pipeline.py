"""The generator as a genuine ``StableDiffusionXLPipeline``: assembled from its parts, saved, loaded."""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from npnet.shapes import LATENT_CHANNELS, LATENT_SIZE, weights
from npnet.shapes.kinds import Autoencoder, Pipeline
from npnet.shapes.training import seed_for
from npnet.shapes.variants import Variant

__all__ = ["assemble", "load_pipeline", "make_scheduler", "make_unet", "save_pipeline"]

TIME_ID_WIDTH = 8
"""Width of the embedding of each of SDXL's six size and crop numbers."""

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
"""The scheduler configuration that SDXL publishes; DDIM keeps the last entry for schedulers made from its own."""


def make_scheduler() -> DDIMScheduler:
    """Return DDIM with SDXL's configuration."""
    return DDIMScheduler.from_config(SCHEDULER)


def make_unet(variant: Variant) -> UNet2DConditionModel:
    """Return an untrained denoiser with SDXL's conditioning (text, pooled text, sizes); the seed gives its weights."""
    torch.manual_seed(seed_for(variant, "unet weights"))
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=variant.unet_channels,
        layers_per_block=1,
        cross_attention_dim=2 * variant.text_width,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=6 * TIME_ID_WIDTH + variant.text_width,
    )


def assemble(
    vae: Autoencoder,
    text_encoder: CLIPTextModel,
    text_encoder_2: CLIPTextModelWithProjection,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> Pipeline:
    """Join the parts; both text encoders read the same tokens."""
    pipeline: Pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    return _freeze(pipeline)


def save_pipeline(pipeline: Pipeline, folder: Path) -> None:
    """Write the pipeline in float16; its own weights are rounded to it, too."""
    for module in _modules(pipeline):
        module.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    # Transformers loads a text encoder as the type that its configuration names, diffusers everything as float32;
    # named float16, a plain ``from_pretrained`` would give a pipeline of two types.
    for name in ("text_encoder", "text_encoder_2"):
        path = Path(folder) / name / "config.json"
        config = json.loads(path.read_text())
        config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n")
    for module in _modules(pipeline):
        module.float()


def load_pipeline(folder: str | Path | None = None, variant: str = "a") -> Pipeline:
    """Return the pipeline in float32, frozen, with its progress bar off.

    Args:
        folder: a pipeline's folder; by default the shipped one of the variant.
        variant: which shipped pipeline, where no folder is given.

    Raises:
        FileNotFoundError: the folder holds no pipeline, or there is no such variant.
    """
    folder = weights(variant) / "pipeline" if folder is None else Path(folder)
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"no pipeline in {folder}: expected model_index.json")
    return _freeze(
        StableDiffusionXLPipeline.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
        )
    )


def _freeze(pipeline: Pipeline) -> Pipeline:
    for module in _modules(pipeline):
        module.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _modules(pipeline: Pipeline) -> tuple[torch.nn.Module, ...]:
    return pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet
