"""Tiny detectors of transformers with random weights: one of masks (Mask2Former), one of boxes alone (YOLOS)."""

from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SwinConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from tests.metrics.tiny import spread

LABELS = {0: "cup", 1: "mouse", 2: "N/A", 3: "wall"}


def save(model, processor, folder, seed):
    model.load_state_dict(spread(model.state_dict(), seed))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_mask2former(folder, seed=0):
    backbone = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        id2label=LABELS,
    )
    processor = Mask2FormerImageProcessor(size={"height": 64, "width": 64})
    return save(Mask2FormerForUniversalSegmentation(config), processor, folder, seed)


def write_yolos(folder, seed=0):
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 64],
        num_detection_tokens=6,
        id2label=LABELS,
    )
    return save(
        YolosForObjectDetection(config),
        YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}),
        folder,
        seed,
    )
