"""Tiny checkpoints with random weights, written as the published ones lie on the hub, so the same code loads them.

``python -m tests.metrics.tiny FOLDER`` writes them all, for a run of the commands by hand.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from npnet.metrics import AES, MPS, CLIPScore, HPSv2, HPSv3, ImageReward, PickScore, ShapesScorer, VLMJudge, VQAScore
from tests.metrics.judge_server import shared

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
OPEN_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
MED = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-12,
    "encoder_width": 999,  # the authors' code overwrites it too
    "add_cross_attention": True,
}
BLIP_VISION = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"}


def spread(state, seed):
    """Random values large enough that a score depends on its inputs: weights of unit gain, norms around one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if not value.is_floating_point() or name.endswith("inv_freq"):
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("logit_scale"):
            state[name] = torch.tensor(2.0)
        elif value.ndim == 1:
            one = float("norm" in name.lower() and name.endswith("weight"))
            state[name] = one + 0.1 * noise
        else:
            state[name] = noise * (0.5 if "embed" in name else max(value[0].numel(), 1) ** -0.5)
    return state


def mark(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SMOKE").write_text("random weights, for tests\n")


def clip_tokenizer(length=77):
    tokens = [*LETTERS, *[f"{letter}</w>" for letter in LETTERS], "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=length)


def clip_config():
    size = len(clip_tokenizer())
    text = {
        **{key: value for key, value in VISION.items() if not key.endswith("_size") or key.startswith(("h", "int"))},
        "vocab_size": size,
        "max_position_embeddings": 77,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
        "pad_token_id": size - 1,
        "projection_dim": 24,
    }
    return {"text_config": text, "vision_config": {**VISION, "projection_dim": 24}, "projection_dim": 24}


def write_clip(folder, seed=0):
    mark(folder)
    model = CLIPModel(CLIPConfig.from_dict(clip_config()))
    state = spread(model.state_dict(), seed)
    # older transformers saved these, and the published files hold them
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(clip_config()))
    clip_tokenizer().save_pretrained(folder)
    return folder


def write_aes(folder, seed=1):
    from npnet.metrics.runtime.head import LinearHead

    mark(folder)
    torch.save(spread(LinearHead(24).state_dict(), seed), folder / "sac+logos+ava1-l14-linearMSE.pth")
    return folder


def write_hpsv2(folder, seed=2):
    from open_clip.model import CLIP

    mark(folder)
    for name in ("HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt"):
        torch.save({"state_dict": spread(CLIP(**OPEN_CLIP).state_dict(), seed)}, folder / name)
        seed += 100
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": OPEN_CLIP}))
    return folder


def bert_tokenizer():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *[f"##{letter}" for letter in LETTERS]]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


def write_imagereward(folder, seed=3):
    from npnet.metrics.runtime.blip import TextConfig, VisionConfig
    from npnet.metrics.runtime.imagereward import RewardModel

    mark(folder)
    text = {name: MED[name] for name in TextConfig.__dataclass_fields__ if name in MED} | {"encoder_width": 32}
    state = spread(RewardModel(TextConfig(**text), VisionConfig(**BLIP_VISION)).state_dict(), seed)
    state["blip.vision_proj.weight"], state["blip.text_proj.bias"] = torch.zeros(4, 32), torch.zeros(4)
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    torch.save(state, folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(MED))
    (folder / "vision_config.json").write_text(json.dumps(BLIP_VISION))
    bert_tokenizer().save_pretrained(folder)
    return folder


def mps_config():
    return clip_config() | {"cross_model": {"num_layers": 2, "num_heads": 2, "head_dim": 8}}


def write_mps(folder, seed=4):
    from npnet.metrics.runtime.mps import MPSModel

    mark(folder)
    state = spread(MPSModel(mps_config()).state_dict(), seed)
    for name in state:
        if name.startswith("cross_model") and name.endswith("norm.bias"):
            state[name] = torch.zeros_like(state[name])
    save_file({name: value.half().contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(mps_config()))
    clip_tokenizer().save_pretrained(folder)
    return folder


def t5_tokenizer():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), ("▁Yes", -1.0), ("▁yes", -1.0)]
    pieces += [(letter, -3.0) for letter in LETTERS + "YQDPUSERIANT:.?\"',"]
    return T5Tokenizer(vocab=list(dict(pieces).items()), extra_ids=0)


def write_vqascore(folder, clip, seed=5):
    """CLIP-FlanT5 in its published layout: no picture tower in the file, as in one of the two cases."""
    mark(folder)
    tokenizer = t5_tokenizer()
    config = {**T5, "vocab_size": len(tokenizer) + 3, "tie_word_embeddings": False, "decoder_start_token_id": 0}
    state = spread(T5ForConditionalGeneration(T5Config(**config)).state_dict(), seed)
    state["encoder.embed_tokens.weight"] = state["decoder.embed_tokens.weight"] = state["shared.weight"]
    state["embed_tokens.weight"] = state["shared.weight"]
    projector = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))
    state |= {f"mm_projector.{name}": value for name, value in spread(projector.state_dict(), seed + 1).items()}
    torch.save(state, folder / "pytorch_model.bin")
    published = {"model_type": "clip_t5", "mm_vision_tower": str(clip), "mm_vision_select_layer": -2}
    (folder / "config.json").write_text(json.dumps({**config, **published}))
    tokenizer.save_pretrained(folder)
    return folder


def write_shapes_scorer(folder, seed=8):
    from npnet.shapes.scorer import ShapesScorer as Model

    torch.manual_seed(seed)
    mark(folder)
    Model(widths=(8, 8), hidden=16, dimension=8).save(folder)
    return folder


def write_all(folder):
    """Write every tiny checkpoint; returns the constructor arguments of each label."""
    from tests.metrics.tiny_image_text import write_hpsv3, write_instructblip, write_llava

    folder = Path(folder)
    clip = write_clip(folder / "clip")
    pick = write_clip(folder / "pickscore", seed=20)
    hps, mps = write_hpsv2(folder / "hpsv2"), write_mps(folder / "mps")
    reward = write_imagereward(folder / "imagereward")
    vqa = write_vqascore(folder / "vqascore", clip)
    hps3 = write_hpsv3(folder / "hpsv3")
    return {
        "hpsv2": (HPSv2, {"version": "v2.1", "path": str(hps)}),
        "hpsv2_0": (HPSv2, {"version": "v2.0", "path": str(hps)}),
        "hpsv3": (HPSv3, {"path": str(hps3), "base_path": None, "code_path": str(hps3 / "data_collator_qwen.py")}),
        "pickscore": (PickScore, {"path": str(pick), "tokenizer_path": None}),
        "aes": (AES, {"path": str(write_aes(folder / "aes")), "clip_path": str(clip)}),
        "imagereward": (ImageReward, {"path": str(reward), "tokenizer_path": None}),
        "clipscore": (CLIPScore, {"path": str(clip)}),
        "mps": (MPS, {"path": str(mps), "tokenizer_path": None}),
        "vqascore": (VQAScore, {"path": str(vqa)}),
        "vqascore_llava": (VQAScore, {"path": str(write_llava(folder / "llava")), "family": "image_text"}),
        "vqascore_instructblip": (
            VQAScore,
            {"path": str(write_instructblip(folder / "instructblip")), "family": "image_text", "answer": "yes"},
        ),
        "vlm_judge": (VLMJudge, {"url": shared().url}),
        "shapes_scorer": (ShapesScorer, {"path": str(write_shapes_scorer(folder / "shapes_scorer"))}),
    }


if __name__ == "__main__":
    for label, (_, arguments) in write_all(sys.argv[1]).items():
        print(
            label, *[f"metric.{label}.{key}={'null' if value is None else value}" for key, value in arguments.items()]
        )
