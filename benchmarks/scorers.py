"""The published metrics at their full size on a fake GPU: their own code, with nothing in the place of their weights.

Their sizes are those of the configurations that their authors publish, as far as they decide shapes.
"""

import contextlib
import importlib
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from npnet.costs.counts import KINDS, Counts, Part, identity
from npnet.costs.runtime.counter import CUDA, count, empty, move, weight_bytes
from npnet.costs.text_encoders import T5_XXL
from npnet.metrics.runtime.clip import VIT_H_14
from npnet.metrics.runtime.hpsv3_question import PLACE, REWARD

META = torch.device("meta")
SIDE = 1024
"""Of the pictures, in pixels."""
VIT_L_14 = {
    "projection_dim": 768,
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768},
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
QWEN2_VL_7B = {
    "model_type": "qwen2_vl",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "vocab_size": 152064,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "patch_size": 14},
}
FLAN_T5_XXL = {**T5_XXL, "tie_word_embeddings": False, "decoder_start_token_id": 0}
CONFIGS = {
    "openai/clip-vit-large-patch14": VIT_L_14,
    "openai/clip-vit-large-patch14-336": {"vision_config": {**VIT_L_14["vision_config"], "image_size": 336}},
    "openai/clip-vit-base-patch32": {},
    "Qwen/Qwen2-VL-7B-Instruct": QWEN2_VL_7B,
    "yuvalkirstain/PickScore_v1": VIT_H_14,
    "zhiqiulin/clip-flant5-xxl": FLAN_T5_XXL,
}
"""By source; what is left out is a default of transformers."""
WORDS = {"Qwen/Qwen2-VL-7B-Instruct": 151658}
"""Of the tokenizer, by source, where they decide a shape: with the mark of HPSv3's reward."""
QUESTION_LETTERS = 2590
"""Of HPSv3."""
HALF = {"hpsv3": torch.bfloat16, "mps": torch.float16, "vqascore": torch.bfloat16}
"""Whose weights are half on a GPU."""
NOTHING = Part(0, dict.fromkeys(KINDS, 0), 0, 0, 0, 0)
MODULES = ("clip", "aes", "hpsv2", "imagereward", "mps", "clip_flant5", "vqascore", "hpsv3", "vlm_judge")


class Tokenizer:
    """Gives every prompt as many tokens as fit, of no meaning; a long text, one for five letters."""

    def __init__(self, words=32100):
        self.words = words

    def __len__(self):
        return self.words

    def add_tokens(self, *given, **options):
        """See ``PreTrainedTokenizer``."""

    def __call__(self, texts, max_length=None, return_tensors=None, **options):
        """See ``PreTrainedTokenizer``."""
        if max_length is None:
            words = max(20, len(texts) // 5) if isinstance(texts, str) else 20
            return {"input_ids": [1] * words if isinstance(texts, str) else [[1] * words for _ in texts]}
        ids = torch.ones(len(texts), max_length, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def split(tensor, sizes, dim=0, whole=torch.split):
    """Split a tensor; a picture's length, which a fake tensor does not know, is the whole tensor's."""
    return (tensor,) if sizes == [1] else whole(tensor, sizes, dim)


@contextlib.contextmanager
def without_files():
    """Let scorers load without weights, tokenizers or a driver."""

    def configured(source, *rest):
        return CONFIGS.get(source)

    stand_ins = {
        "read_config": configured,
        "read_state": lambda *given: {},
        "load_strict": lambda module, *given, **options: module.eval().requires_grad_(False),
        "require_loaded": lambda module: None,
        "give": lambda model, *given: model.eval().requires_grad_(False),
        "load_tokenizer": lambda source, *given: Tokenizer(WORDS.get(source, 32100)),
        "read_question": lambda path: "x" * QUESTION_LETTERS + PLACE + REWARD,
        "is_smoke": lambda *given: False,
        "check_source": lambda *given, **options: None,
        "ChatServer": mock.MagicMock,
        "fill_mask": lambda model: None,
        "question_ids": lambda tokenizer, question, device: (torch.ones(40, dtype=torch.long, device=device),) * 2,
    }
    with contextlib.ExitStack() as stack:
        for name in MODULES:
            module = importlib.import_module(f"npnet.metrics.runtime.{name}")
            for function, stand_in in stand_ins.items():
                if hasattr(module, function):
                    stack.enter_context(mock.patch.object(module, function, stand_in))
        stack.enter_context(mock.patch("torch.split", split))
        stack.enter_context(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        stack.enter_context(mock.patch("torch.cuda.is_bf16_supported", lambda *given: True))
        yield


def on_gpu(label, metric):
    """Return a fake mode, and a metric's scorer on the GPU; to be called in ``without_files``."""
    mode, scorer = FakeTensorMode(allow_non_fake_inputs=True), metric.load(META)
    scorer.device = CUDA
    for holder in (scorer, *(part for part in vars(scorer).values() if hasattr(part, "tokenizer"))):
        for name, value in list(vars(holder).items()):
            if isinstance(value, nn.Module):
                move(mode, value, HALF.get(label))
            elif isinstance(value, Tensor):
                setattr(holder, name, empty(mode, value))
            elif isinstance(value, torch.device):
                holder.device = CUDA
    return mode, scorer


def modules(scorer):
    """Return the models that a scorer holds."""
    trunk = getattr(scorer, "trunk", None)
    return [
        value for holder in (scorer, trunk) if holder for value in vars(holder).values() if isinstance(value, nn.Module)
    ]


def count_metric(label, metric):
    """Count the scoring of a picture."""
    width, height = metric.picture_size or (SIDE, SIDE)
    with without_files(), torch.no_grad():
        mode, scorer = on_gpu(label, metric)

        def score(rows):
            prompts = [metric.example_prompts[0]] * rows
            return scorer._score(torch.empty(rows, 3, height, width, device=CUDA), prompts)

        if not modules(scorer):  # geometry, on the CPU
            return Counts(label, identity("metric", metric), {"scorer": NOTHING})
        part = count(mode, score, weight_bytes(*modules(scorer)))
    return Counts(label, identity("metric", metric), {"scorer": part})
