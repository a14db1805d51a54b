"""The published sizes of models whose text encoder is a language model; see ``npnet.costs.published``.

Checked in November 2026 against copies of the hub's configuration files and of the authors' code in public
repositories. FLUX.2 [klein] 4B: ``Klein4BParams`` of black-forest-labs/flux2, in five of them. Z-Image-Turbo:
``config.json`` of the transformer and of the text encoder as a converter to MLX quotes them, and three ports.
Qwen-Image: the scheduler's file as five trainers quote it, and diffusers' defaults of the transformer. SANA-Sprint:
diffusers' ``scripts/convert_sana_to_diffusers.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnet.backbones import QwenImage
from npnet.costs.vaes import VAE_DC, VAE_FLUX

QWEN3_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
QWEN25_VL_7B = {
    "text_config": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
    "tie_word_embeddings": False,
}
GEMMA_2_2B = {"vocab_size": 256000, "hidden_size": 2304, "num_hidden_layers": 26}
LANGUAGE_MODEL_PARTS: dict[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "black-forest-labs/FLUX.2-klein-4B": {
        "transformer": (
            "Flux2Transformer2DModel",
            {
                "in_channels": 128,
                "num_layers": 5,
                "num_single_layers": 20,
                "attention_head_dim": 128,
                "num_attention_heads": 24,
                "joint_attention_dim": 7680,
                "guidance_embeds": False,
            },
        ),
        "vae": ("AutoencoderKLFlux2", {}),
        "text_encoder": ("Qwen3ForCausalLM", QWEN3_4B),
        "scheduler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": True}),
    },
    "Tongyi-MAI/Z-Image-Turbo": {
        "transformer": (
            "ZImageTransformer2DModel",
            {
                "in_channels": 16,
                "dim": 3840,
                "n_layers": 30,
                "n_refiner_layers": 2,
                "n_heads": 30,
                "n_kv_heads": 30,
                "cap_feat_dim": 2560,
                "axes_dims": [32, 48, 48],
                "axes_lens": [1536, 512, 512],
            },
        ),
        "vae": ("AutoencoderKL", VAE_FLUX),
        "text_encoder": ("Qwen3Model", QWEN3_4B),
        "scheduler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    },
    "Qwen/Qwen-Image": {
        "transformer": (
            "QwenImageTransformer2DModel",
            {
                "in_channels": 64,
                "out_channels": 16,
                "num_layers": 60,
                "attention_head_dim": 128,
                "num_attention_heads": 24,
                "joint_attention_dim": 3584,
            },
        ),
        "vae": ("AutoencoderKLQwenImage", {}),
        "text_encoder": ("Qwen2_5_VLForConditionalGeneration", QWEN25_VL_7B),
        "scheduler": (
            "FlowMatchEulerDiscreteScheduler",
            dict(QwenImage.layout.scheduler),
        ),
    },
    "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": {
        "transformer": (
            "SanaTransformer2DModel",
            {
                "in_channels": 32,
                "out_channels": 32,
                "num_layers": 20,
                "num_attention_heads": 70,
                "attention_head_dim": 32,
                "num_cross_attention_heads": 20,
                "cross_attention_head_dim": 112,
                "cross_attention_dim": 2240,
                "caption_channels": 2304,
                "sample_size": 32,
                "guidance_embeds": True,
                "qk_norm": "rms_norm_across_heads",
            },
        ),
        "vae": ("AutoencoderDC", VAE_DC),
        "text_encoder": ("Gemma2Model", GEMMA_2_2B),
        "scheduler": ("SCMScheduler", {}),
    },
}
"""By the hub's name of a pipeline."""
