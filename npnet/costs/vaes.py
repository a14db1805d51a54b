"""The published sizes of VAEs, as far as they decide shapes; see ``npnet.costs.published``."""

VAE_8 = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
VAE_SD = {**VAE_8, "latent_channels": 4, "scaling_factor": 0.18215}
VAE_XL = {**VAE_8, "latent_channels": 4, "scaling_factor": 0.13025, "force_upcast": True}
VAE_16 = {**VAE_8, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
VAE_FLUX = {**VAE_16, "scaling_factor": 0.3611, "shift_factor": 0.1159}
VAE_DC = {
    "latent_channels": 32,
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
    "scaling_factor": 0.41407,
}
