"""Tiny models from configuration: the real classes, a few thousand random weights, no network."""

from __future__ import annotations

import inspect
import re
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from npnet import backbones
from npnet.backbones import StableDiffusionXL

SDXL_SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "skip_prk_steps": True,
}
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
T5_LENGTH = 12


def tokenizer() -> CLIPTokenizer:
    tokens = [*LETTERS, *[f"{letter}</w>" for letter in LETTERS], "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=16)


def t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *[(letter, -2.0) for letter in LETTERS]]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def bert_tokenizer() -> BertTokenizer:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *[f"##{letter}" for letter in LETTERS]]
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}, model_max_length=77)


CHAT = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def chat_tokenizer(*words: str) -> Qwen2Tokenizer:
    """Letter by letter, but for ``words``; its chat template is short."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*LETTERS, "Ġ", "Ċ", *words, *marks])}
    made = Qwen2Tokenizer(vocab=vocabulary, merges=[], additional_special_tokens=[*marks[1:], *words])
    made.chat_template = CHAT
    return made


def qwen3(num_hidden_layers: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(chat_tokenizer()),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config)


TEMPLATE_TAIL = (
    "e by detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and "
    "background:"
)
"""Of Qwen-Image's template; one token here, so that 34 tokens come before a prompt, as many as its pipeline drops."""


def qwen25_vl() -> Qwen2_5_VLForConditionalGeneration:
    text = {
        "vocab_size": len(chat_tokenizer(TEMPLATE_TAIL)),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def text_config(projection_dim: int = 24) -> CLIPTextConfig:
    size = len(tokenizer())
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=projection_dim,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )


def t5_encoder(width: int = 32) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0
    )
    return T5EncoderModel(config)


def vae(latent_channels: int = 4, **config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        layers_per_block=1,
        **config,
    )


def unet(**config: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        **config,
    )


def scheduler(**changed: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config({**SDXL_SCHEDULER, **changed})


XL_ADDED = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
    "cross_attention_dim": 64,
}


def sdxl_parts(prediction_type: str = "epsilon", **changed: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "unet": unet(**XL_ADDED),
        "vae": vae(),
        "text_encoder": CLIPTextModel(text_config()),
        "text_encoder_2": CLIPTextModelWithProjection(text_config()),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "scheduler": scheduler(prediction_type=prediction_type, **changed),
    }


def sdxl_pipeline(prediction_type: str = "epsilon", **changed: Any) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(**sdxl_parts(prediction_type, **changed), add_watermarker=False)


def sdxl(prediction_type: str = "epsilon", **changed: Any) -> StableDiffusionXL:
    backbone = StableDiffusionXL("unused", height=64, width=64, device="cpu")
    return backbone.adopt(sdxl_pipeline(prediction_type, **changed))


def sd_pipeline(prediction_type: str = "epsilon", **changed: Any) -> diffusers.StableDiffusionPipeline:
    torch.manual_seed(0)
    return diffusers.StableDiffusionPipeline(
        unet=unet(cross_attention_dim=32),
        vae=vae(),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(),
        scheduler=scheduler(prediction_type=prediction_type, **changed),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def hunyuan_pipeline() -> diffusers.HunyuanDiTPipeline:
    torch.manual_seed(0)
    transformer = diffusers.HunyuanDiT2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        hidden_size=24,
        activation_fn="gelu-approximate",
    )
    names = bert_tokenizer()
    bert = BertConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    published = {**SDXL_SCHEDULER, "beta_end": 0.018, "prediction_type": "v_prediction"}
    return diffusers.HunyuanDiTPipeline(
        transformer=transformer,
        vae=vae(),
        text_encoder=BertModel(bert),
        tokenizer=names,
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        scheduler=diffusers.DDPMScheduler.from_config(published),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd3_pipeline() -> diffusers.StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=48,
        pos_embed_max_size=16,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        vae=vae(4, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(text_config()),
        tokenizer=tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5_encoder(64),
        tokenizer_3=t5_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux_pipeline(guidance_embeds: bool = True, **changed: Any) -> diffusers.FluxPipeline:
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    published = {"shift": 3.0, "use_dynamic_shifting": True, **changed}
    return diffusers.FluxPipeline(
        transformer=transformer,
        vae=vae(4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**published),
    )


def flux2_klein_pipeline(is_distilled: bool = True) -> diffusers.Flux2KleinPipeline:
    torch.manual_seed(0)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    decoder = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1
    )
    torch.nn.init.normal_(decoder.bn.running_mean)
    torch.nn.init.uniform_(decoder.bn.running_var, 0.5, 2.0)
    return diffusers.Flux2KleinPipeline(
        transformer=transformer,
        vae=decoder,
        text_encoder=qwen3(28),  # its layers 9, 18 and 27 are read
        tokenizer=chat_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        is_distilled=is_distilled,
    )


def z_image_pipeline() -> diffusers.ZImagePipeline:
    torch.manual_seed(0)
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[128, 64, 64],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token)
    return diffusers.ZImagePipeline(
        transformer=transformer,
        vae=vae(4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=qwen3(2).model,
        tokenizer=chat_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def qwen_image_pipeline() -> diffusers.QwenImagePipeline:
    torch.manual_seed(0)
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    picture_vae = diffusers.AutoencoderKLQwenImage(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    published = backbones.QwenImage.layout.scheduler
    return diffusers.QwenImagePipeline(
        transformer=transformer,
        vae=picture_vae,
        text_encoder=qwen25_vl(),
        tokenizer=chat_tokenizer(TEMPLATE_TAIL),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**published),
    )


def sana_sprint_pipeline() -> diffusers.SanaSprintPipeline:
    torch.manual_seed(0)
    call = inspect.signature(diffusers.SanaSprintPipeline.__call__).parameters
    words = chat_tokenizer("\n".join(call["complex_human_instruction"].default))  # one word here
    gemma = Gemma2Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        guidance_embeds=True,
        guidance_embeds_scale=0.1,
        qk_norm="rms_norm_across_heads",
    )
    deep = {"block_types": "ResBlock", "block_out_channels": (8,) * 6, "layers_per_block": (1,) * 6}
    multiscales = {f"{half}_qkv_multiscales": ((),) * 6 for half in ("encoder", "decoder")}
    halves = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in deep.items()}
    picture_vae = diffusers.AutoencoderDC(
        latent_channels=4,
        upsample_block_type="interpolate",
        downsample_block_type="conv",
        scaling_factor=0.41407,
        **halves,
        **multiscales,
    )
    return diffusers.SanaSprintPipeline(
        tokenizer=words,
        text_encoder=Gemma2Model(gemma),
        vae=picture_vae,
        transformer=transformer,
        scheduler=diffusers.SCMScheduler(),
    )


WAN_SCHEDULER: dict[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
    "solver_order": 2,
}


def wan_pipeline() -> diffusers.WanPipeline:
    torch.manual_seed(0)
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )
    video_vae = diffusers.AutoencoderKLWan(
        base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return diffusers.WanPipeline(
        transformer=transformer,
        vae=video_vae,
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=diffusers.UniPCMultistepScheduler(**WAN_SCHEDULER),
    )


def controlnet_pipeline(name: str = "sdxl") -> Any:
    """The pipeline of a family with a ControlNet, whose last layers are not zeros as those of an untrained one are."""
    plain = PIPELINES[name]()
    parts = dict(plain.components)
    denoiser = parts.get("unet") or parts["transformer"]
    if name in ("sd", "sdxl"):
        hints = {"conditioning_channels": 3, "conditioning_embedding_out_channels": (4, 8, 8, 8)}
        controlnet = diffusers.ControlNetModel.from_unet(denoiser, **hints)
    elif name == "sd3":
        options: dict[str, Any] = {"num_layers": 1, "num_extra_conditioning_channels": 0}
        controlnet = diffusers.SD3ControlNetModel.from_transformer(
            denoiser, load_weights_from_transformer=False, **options
        )
    elif name == "hunyuan":  # it has no layers: a transformer of two has no place for them
        controlnet = diffusers.HunyuanDiT2DControlNetModel.from_transformer(
            denoiser, transformer_num_layers=2, load_weights_from_transformer=False
        )
    elif name == "z_image":
        size = {"dim": 32, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "control_in_dim": 4}
        controlnet = diffusers.ZImageControlNetModel([0], [0], add_control_noise_refiner=None, **size)
    else:
        kind = {"flux": diffusers.FluxControlNetModel, "qwen_image": diffusers.QwenImageControlNetModel}[name]
        heads = {"attention_head_dim": 16, "num_attention_heads": 2}
        layers = {"num_layers": 1, **({"num_single_layers": 1} if name == "flux" else {})}
        controlnet = kind.from_transformer(denoiser, **layers, **heads)
    for key, weight in controlnet.named_parameters():
        if re.search(r"controlnet_.*block", key):
            torch.nn.init.normal_(weight, std=0.2)
    if name in ("sd", "hunyuan"):
        parts["requires_safety_checker"] = False
    kind = getattr(diffusers, type(plain).__name__.replace("Pipeline", "ControlNetPipeline"))
    return kind(**parts, controlnet=controlnet)


def family(name: str, **changed: Any) -> backbones.Backbone:
    """A tiny backbone by name, at 64 x 96 pixels; ``changed``: keys of its constructor."""
    size = {"height": 64, "width": 96, "device": "cpu", **changed}
    t5 = {"max_sequence_length": T5_LENGTH, **size}
    if name in ("sd", "sd_v"):
        return backbones.StableDiffusion("unused", **size).adopt(sd_pipeline(prediction(name)))
    if name in ("sdxl", "sdxl_v"):
        return StableDiffusionXL("unused", **size).adopt(sdxl_pipeline(prediction(name)))
    if name == "dreamshaper":
        return StableDiffusionXL("unused", spacing="dpm_solver", **size).adopt(sdxl_pipeline())
    if name == "hunyuan_dit":
        return backbones.HunyuanDiT("unused", **size).adopt(hunyuan_pipeline())
    if name == "sd3":
        return backbones.StableDiffusion3("unused", **t5).adopt(sd3_pipeline())
    if name == "flux":
        return backbones.Flux("unused", **t5).adopt(flux_pipeline())
    if name == "flux_true_cfg":
        return backbones.Flux("unused", true_cfg=True, **t5).adopt(flux_pipeline())
    if name == "flux_schnell":
        schnell = flux_pipeline(guidance_embeds=False, use_dynamic_shifting=False, shift=1.0)
        return backbones.Flux("unused", **t5).adopt(schnell)
    if name == "flux2_klein":
        return backbones.Flux2Klein("unused", guidance_distilled=True, **t5).adopt(flux2_klein_pipeline())
    if name == "flux2_klein_base":
        return backbones.Flux2Klein("unused", **t5).adopt(flux2_klein_pipeline(is_distilled=False))
    if name == "z_image":
        return backbones.ZImage("unused", guidance_distilled=True, **t5).adopt(z_image_pipeline())
    if name == "z_image_base":
        return backbones.ZImage("unused", **t5).adopt(z_image_pipeline())
    if name == "qwen_image":
        return backbones.QwenImage("unused", **t5).adopt(qwen_image_pipeline())
    if name == "sana_sprint":
        return backbones.SanaSprint("unused", **t5).adopt(sana_sprint_pipeline())
    assert name == "wan", name
    return backbones.Wan("unused", num_frames=9, **t5).adopt(wan_pipeline())


def prediction(name: str) -> str:
    return "v_prediction" if name.endswith("_v") else "epsilon"


FAMILIES = (
    "sd",
    "sd_v",
    "sdxl",
    "sdxl_v",
    "dreamshaper",
    "hunyuan_dit",
    "sd3",
    "flux",
    "flux_true_cfg",
    "flux_schnell",
    "flux2_klein",
    "flux2_klein_base",
    "z_image",
    "z_image_base",
    "qwen_image",
    "sana_sprint",
    "wan",
)


PIPELINES = {
    "sd": sd_pipeline,
    "sdxl": sdxl_pipeline,
    "hunyuan": hunyuan_pipeline,
    "sd3": sd3_pipeline,
    "flux": flux_pipeline,
    "flux2": lambda: flux2_klein_pipeline(is_distilled=False),
    "z_image": z_image_pipeline,
    "qwen_image": qwen_image_pipeline,
    "sana": sana_sprint_pipeline,
    "wan": wan_pipeline,
}
