"""The probability of an answer under any image-text model of transformers (LLaVA, InstructBLIP, Qwen-VL, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from npnet.errors import FieldError, reworded
from npnet.weights.tokenizers import check_vocabulary


def load_image_text(source: str, dtype: torch.dtype, field: str = "path") -> tuple[Any, Any]:
    """Load a model and its processor with transformers; missing weights are refused, not initialised.

    Raises:
        FieldError: of ``field``: there is no usable model, or keys are missing, unknown or of another shape.
    """
    with reworded(Exception, partial(FieldError, field, source), "no image-text model of transformers: "):
        loaded: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, output_loading_info=True)
        model, report = loaded
        processor = AutoProcessor.from_pretrained(source)
    require_whole(report, field, source)
    check_vocabulary(processor.tokenizer, field, source)
    return model.eval().requires_grad_(False), processor


def require_whole(report: Mapping[str, Any], field: str, source: str) -> None:
    """Refuse a model if transformers reports weights that it initialised, left out or could not fit.

    Raises:
        FieldError: names the keys.
    """
    problems = {
        name: sorted(map(str, report.get(name) or ()))
        for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    problems["unexpected_keys"] = [name for name in problems["unexpected_keys"] if not name.endswith("position_ids")]
    found = [f"{name.replace('_', ' ')} {', '.join(keys[:3])}" for name, keys in problems.items() if keys]
    if found:
        raise FieldError(field, source, f"not this model's weights: {'; '.join(found)}")


def answer_chance(
    model: Any, processor: Any, picture: Image, question: str, answer: str, end_mark: bool, image: Tensor | None = None
) -> Tensor:
    """Return the mean log-probability of the answer's tokens, a scalar.

    Without ``end_mark`` it is that of the first token alone: P("Yes") where the answer is one token. ``image``, the
    picture as a tensor ``(3, H, W)``, carries gradients; see ``with_gradient``.
    """
    tokenizer = processor.tokenizer
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = [*ids, tokenizer.eos_token_id] if end_mark else ids[:1]
    target = torch.tensor([ids], device=model.device)
    with torch.set_grad_enabled(image is not None):
        logits = answer_logits(model, processor, picture, question, target, image)
    return logits.float().log_softmax(-1).gather(-1, target[..., None]).mean()


def answer_logits(
    model: Any, processor: Any, picture: Image, question: str, target: Tensor, image: Tensor | None = None
) -> Tensor:
    """Return the logits ``(1, N, words)`` with which a model meets each of the N tokens of an answer.

    Args:
        model: of transformers.
        processor: the model's.
        picture: RGB.
        question: about it.
        target: ``(1, N)``, the answer's token ids; of the last one nothing is read.
        image: see ``answer_chance``.
    """
    inputs = processor(images=picture, text=ask(processor, question), return_tensors="pt").to(model.device)
    for name, value in inputs.items():
        if torch.is_floating_point(value):
            inputs[name] = value.to(model.dtype)
    if image is not None:
        inputs["pixel_values"] = with_gradient(inputs["pixel_values"], image, processor.image_processor)
    length = target.shape[1]
    if model.config.is_encoder_decoder or getattr(model.config, "use_decoder_only_language_model", True) is False:
        return model(**inputs, labels=target).logits[:, -length:]
    return model(**extended(dict(inputs), target[:, :-1])).logits[:, -length:]


def with_gradient(pixels: Tensor, image: Tensor, preparing: Any) -> Tensor:
    """Return what the model's own processor made of a picture, with the gradient of the same steps in floating point.

    The processor resizes 8-bit pictures, which has no gradient; the value stays its own, and the derivative is that of
    resizing, cropping and normalising without rounding.

    Args:
        pixels: of the processor, ``(1, 3, h, w)``.
        image: ``(3, H, W)`` in [0, 1].
        preparing: the processor of pictures: CLIP's (LLaVA 1.5), BLIP's (InstructBLIP), or one of their form.

    Raises:
        FieldError: the model reads a picture in another form, as in tiles.
    """
    mean, std = getattr(preparing, "image_mean", None), getattr(preparing, "image_std", None)
    if pixels.ndim != 4 or len(pixels) != 1 or mean is None or std is None:
        raise FieldError(
            "path", None, f"no gradient through {type(preparing).__name__}; LLaVA 1.5 and InstructBLIP have one"
        )
    height, width = pixels.shape[-2:]
    soft = image[None].to(pixels.device, torch.float32)
    if getattr(preparing, "do_center_crop", False):
        side = min(soft.shape[-2:])
        top, left = ((length - side) // 2 for length in soft.shape[-2:])
        soft = soft[..., top : top + side, left : left + side]
    soft = F.interpolate(soft, (height, width), mode="bicubic", antialias=True)
    soft = (soft - soft.new_tensor(mean)[:, None, None]) / soft.new_tensor(std)[:, None, None]
    return pixels + (soft - soft.detach()).to(pixels.dtype)


def ask(processor: Any, question: str) -> str:
    """Return the question as the model was trained to be asked, with its place for the picture."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    token = getattr(processor, "image_token", None)
    if token is None or not hasattr(processor, "patch_size"):
        return question  # the processor puts the picture in front by itself (InstructBLIP)
    return f"USER: {token}\n{question} ASSISTANT:"


def extended(inputs: dict[str, Any], more: Tensor) -> dict[str, Any]:
    """Append token ids to the prompt: 1 in its mask, 0 in whatever else goes with each token."""
    shape = inputs["input_ids"].shape
    added = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    longer = {
        name: torch.cat([value, added.get(name, torch.zeros_like(more)).to(value.dtype)], dim=1)
        for name, value in inputs.items()
        if torch.is_tensor(value) and value.shape == shape
    }
    return {**inputs, **longer}
