"""Tiny image-text models of transformers: LLaVA (decoder-only), InstructBLIP (encoder-decoder), and Qwen's two."""

import json

from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.metrics.tiny import LETTERS, T5, VISION, bert_tokenizer, mark, spread, t5_tokenizer


def llava_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "</s>", "<image>", "Yes", "no", *LETTERS, "U", "S", "E", "R", "A", ":", "?", "."]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
        extra_special_tokens=["<image>"],
    )


def image_processor():
    size = VISION["image_size"]
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def write_llava(folder, seed=6):
    mark(folder)
    tokenizer = llava_tokenizer()
    text = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "pad_token_id": 1,
    }
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION}, text_config=text, image_token_id=2
    )
    model = LlavaForConditionalGeneration(config)
    model.load_state_dict(spread(model.state_dict(), seed))
    model.save_pretrained(folder)
    LlavaProcessor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        patch_size=VISION["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    ).save_pretrained(folder)
    return folder


def write_instructblip(folder, seed=7):
    mark(folder)
    tokenizer, questions = t5_tokenizer(), bert_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    config = InstructBlipConfig(
        vision_config={**VISION, "model_type": "instructblip_vision_model"},
        qformer_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "encoder_hidden_size": 32,
            "vocab_size": len(questions),
        },
        text_config={"model_type": "t5", **T5, "vocab_size": len(tokenizer), "decoder_start_token_id": 0},
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = InstructBlipForConditionalGeneration(config)
    model.load_state_dict(spread(model.state_dict(), seed))
    model.save_pretrained(folder)
    InstructBlipProcessor(image_processor(), tokenizer, questions, num_query_tokens=4).save_pretrained(folder)
    return folder


HPSV3_CODE = """import pandas
raise SystemExit("this file is read, and never run")
INSTRUCTION = "rate {text_prompt} "
prompt_with_special_token = " of it <|Reward|> END"
"""
QWEN2_VL = {
    "model_type": "qwen2_vl",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 99,  # as in the published configuration, which has more rows than words
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "vision_config": {
        "model_type": "qwen2_vl",
        "depth": 2,
        "embed_dim": 32,
        "num_heads": 2,
        "hidden_size": 32,
        "patch_size": 28,  # twice the published one: a quarter of the patches
    },
}


def qwen_tokenizer(*more):
    from tokenizers import Tokenizer, models, pre_tokenizers

    marks = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", *more]
    words = ["<unk>", *LETTERS, "rate", "of", "it", "red", "cube", "two", "dogs", "on", "boat", "Yes", "yes", *marks]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>", extra_special_tokens=marks
    )


QWEN_CHAT = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
)


def write_qwen3_vl(folder, seed=10):
    mark(folder)
    tokenizer = qwen_tokenizer("<|video_pad|>")
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": len(tokenizer),
        "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]},
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 64,
    }
    names = {"image_token": "image_pad", "video_token": "video_pad"}
    names |= {"vision_start_token": "vision_start", "vision_end_token": "vision_end"}
    ids = {f"{key}_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))
    model.load_state_dict(spread(model.state_dict(), seed))
    model.save_pretrained(folder)
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, min_pixels=32**2, max_pixels=64**2),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=QWEN_CHAT,
    ).save_pretrained(folder)
    return folder


def write_hpsv3(folder, seed=9):
    """As published: names of transformers before 4.52, half precision, the head over words among them."""
    from npnet.metrics.runtime.hpsv3 import RewardModel

    mark(folder)
    tokenizer = qwen_tokenizer()
    state = spread(RewardModel(QWEN2_VL, len(tokenizer) + 1).state_dict(), seed)
    published = {
        name.removeprefix("body.").replace("language_model.", "model."): value.contiguous()
        for name, value in state.items()
    }
    published["lm_head.weight"] = published["model.embed_tokens.weight"].clone()
    save_file(published, folder / "HPSv3.safetensors")
    (folder / "config.json").write_text(json.dumps(QWEN2_VL))
    (folder / "data_collator_qwen.py").write_text(HPSV3_CODE)
    tokenizer.save_pretrained(folder)
    return folder
