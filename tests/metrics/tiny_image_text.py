"""Tiny image-text models of transformers: one decoder-only (LLaVA), one encoder-decoder (InstructBLIP)."""

from transformers import (
    CLIPImageProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
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
