"""The published formulas once more: one picture at a time, loops and matrix products on a checkpoint's own tensors.

Nothing of ``npnet.metrics`` is used here, nor the model classes that it uses.
"""

import math

import numpy as np
import torch
from PIL import Image

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


# --- pictures ---------------------------------------------------------------------------------------------------------


def crop_pixels(picture, size, floor):
    """Shortest side to ``size`` (PIL, bicubic), middle square, normalised: ``(3, size, size)``."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    new = {short: size, long: int(size * long / short)} if short != long else {short: size}
    resized = picture.resize((new[width], new[height]), Image.BICUBIC)
    rest_x, rest_y = new[width] - size, new[height] - size
    left, top = (rest_x // 2, rest_y // 2) if floor else (round(rest_x / 2), round(rest_y / 2))
    return normalise(np.asarray(resized, dtype=np.float64)[top : top + size, left : left + size] / 255)


def square_pixels(picture, size):
    """A border in the mean colour makes it square; then as ``crop_pixels``."""
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), tuple(int(value * 255) for value in MEAN))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return crop_pixels(canvas, size, floor=True)


def longest_side_pixels(picture, size):
    """Longest side to ``size`` (torchvision, tensors, bicubic), black around it: HPSv2."""
    from torchvision.transforms.functional import InterpolationMode, pad, resize, to_tensor

    tensor = to_tensor(picture)
    scale = size / max(tensor.shape[1:])
    height, width = (round(side * scale) for side in tensor.shape[1:])
    tensor = resize(tensor, [height, width], InterpolationMode.BICUBIC)
    left, top = (size - width) // 2, (size - height) // 2
    tensor = pad(tensor, [left, top, size - width - left, size - height - top])
    return normalise(tensor.permute(1, 2, 0).double().numpy())


def normalise(array):
    return torch.from_numpy(((array - MEAN) / STD).transpose(2, 0, 1)).double()


# --- layers -----------------------------------------------------------------------------------------------------------


def norm(x, s, name, eps=1e-5):
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * s[f"{name}.weight"]
    return x + s[f"{name}.bias"] if f"{name}.bias" in s else x


def linear(x, s, name):
    x = x @ s[f"{name}.weight"].T
    return x + s[f"{name}.bias"] if f"{name}.bias" in s else x


def attention(q, k, v, heads, bias=0.0):
    """``(N, D)`` queries on ``(M, D)`` keys; one shared key and value where these are ``(M, D / heads)``."""
    size = q.shape[-1] // heads
    rows = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        key, value = (k, v) if k.shape[-1] == size else (k[:, part], v[:, part])
        weights = (q[:, part] @ key.T / math.sqrt(size) + bias).softmax(-1)
        rows.append(weights @ value)
    return torch.cat(rows, -1)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def causal(length):
    return torch.full((length, length), -torch.inf, dtype=torch.float64).triu(1)


def patches(pixels, weight):
    """Non-overlapping patches, row by row, each times the kernel: ``(N, D)``."""
    size = weight.shape[-1]
    rows = []
    for y in range(0, pixels.shape[1], size):
        for x in range(0, pixels.shape[2], size):
            rows.append(weight.flatten(1) @ pixels[:, y : y + size, x : x + size].flatten())
    return torch.stack(rows)


def unit(x):
    return x / x.norm()


# --- models -----------------------------------------------------------------------------------------------------------


def clip_layers(x, s, prefix, count, heads, bias=0.0):
    for i in range(count):
        name = f"{prefix}.encoder.layers.{i}"
        y = norm(x, s, f"{name}.layer_norm1")
        q, k, v = (linear(y, s, f"{name}.self_attn.{part}_proj") for part in "qkv")
        x = x + linear(attention(q, k, v, heads, bias), s, f"{name}.self_attn.out_proj")
        y = norm(x, s, f"{name}.layer_norm2")
        x = x + linear(quick_gelu(linear(y, s, f"{name}.mlp.fc1")), s, f"{name}.mlp.fc2")
    return x


def clip_picture(s, pixels, count, heads):
    """Tokens of the last layer, the class token first; not yet normalised or projected."""
    x = patches(pixels, s["vision_model.embeddings.patch_embedding.weight"])
    x = torch.cat([s["vision_model.embeddings.class_embedding"][None], x])
    x = norm(x + s["vision_model.embeddings.position_embedding.weight"], s, "vision_model.pre_layrnorm")
    return clip_layers(x, s, "vision_model", count, heads)


def clip_text(s, ids, count, heads):
    """Normalised tokens of the last layer, and the one at the first end mark (the largest id)."""
    x = s["text_model.embeddings.token_embedding.weight"][ids]
    x = x + s["text_model.embeddings.position_embedding.weight"][: len(ids)]
    x = clip_layers(x, s, "text_model", count, heads, causal(len(ids)))
    x = norm(x, s, "text_model.final_layer_norm")
    return x, x[int(torch.tensor(ids).argmax())]


def clip_cosine(s, pixels, ids, count=2, heads=2):
    picture = norm(clip_picture(s, pixels, count, heads)[0], s, "vision_model.post_layernorm")
    text = clip_text(s, ids, count, heads)[1]
    return unit(linear(picture, s, "visual_projection")) @ unit(linear(text, s, "text_projection"))


def head(x, s, prefix="layers"):
    for i in (0, 2, 4, 6, 7):
        x = linear(x, s, f"{prefix}.{i}")
    return x[0]


def open_clip_layers(x, s, prefix, count, heads, bias=0.0):
    for i in range(count):
        name = f"{prefix}.resblocks.{i}"
        y = norm(x, s, f"{name}.ln_1") @ s[f"{name}.attn.in_proj_weight"].T + s[f"{name}.attn.in_proj_bias"]
        x = x + linear(attention(*y.chunk(3, -1), heads, bias), s, f"{name}.attn.out_proj")
        y = norm(x, s, f"{name}.ln_2")
        x = x + linear(gelu(linear(y, s, f"{name}.mlp.c_fc")), s, f"{name}.mlp.c_proj")
    return x


def hpsv2(s, pixels, ids, count=2, heads=2):
    x = torch.cat([s["visual.class_embedding"][None], patches(pixels, s["visual.conv1.weight"])])
    x = norm(x + s["visual.positional_embedding"], s, "visual.ln_pre")
    x = open_clip_layers(x, s, "visual.transformer", count, heads)
    picture = norm(x[0], s, "visual.ln_post") @ s["visual.proj"]
    x = s["token_embedding.weight"][ids] + s["positional_embedding"][: len(ids)]
    x = norm(open_clip_layers(x, s, "transformer", count, heads, causal(len(ids))), s, "ln_final")
    text = x[ids.index(max(ids))] @ s["text_projection"]
    return unit(picture) @ unit(text)


def imagereward(s, pixels, ids, mask, count=2, heads=2):
    v = "blip.visual_encoder"
    x = patches(pixels, s[f"{v}.patch_embed.proj.weight"]) + s[f"{v}.patch_embed.proj.bias"]
    x = torch.cat([s[f"{v}.cls_token"][0], x]) + s[f"{v}.pos_embed"][0]
    for i in range(count):
        name = f"{v}.blocks.{i}"
        y = linear(norm(x, s, f"{name}.norm1", 1e-6), s, f"{name}.attn.qkv")
        x = x + linear(attention(*y.chunk(3, -1), heads), s, f"{name}.attn.proj")
        y = gelu(linear(norm(x, s, f"{name}.norm2", 1e-6), s, f"{name}.mlp.fc1"))
        x = x + linear(y, s, f"{name}.mlp.fc2")
    picture = norm(x, s, f"{v}.norm", 1e-6)
    t = "blip.text_encoder"
    x = s[f"{t}.embeddings.word_embeddings.weight"][ids]
    x = norm(x + s[f"{t}.embeddings.position_embeddings.weight"][: len(ids)], s, f"{t}.embeddings.LayerNorm", 1e-12)
    hidden = (1 - torch.tensor(mask).double()) * -10000
    for i in range(count):
        name = f"{t}.encoder.layer.{i}"
        for part, context, bias in (("attention", None, hidden), ("crossattention", picture, 0.0)):
            source = x if context is None else context
            q = linear(x, s, f"{name}.{part}.self.query")
            k, v = (linear(source, s, f"{name}.{part}.self.{which}") for which in ("key", "value"))
            y = linear(attention(q, k, v, heads, bias), s, f"{name}.{part}.output.dense")
            x = norm(y + x, s, f"{name}.{part}.output.LayerNorm", 1e-12)
        y = linear(gelu(linear(x, s, f"{name}.intermediate.dense")), s, f"{name}.output.dense")
        x = norm(y + x, s, f"{name}.output.LayerNorm", 1e-12)
    return (head(x[0], s, "mlp.layers") - 0.16717362830052426) / 1.0333394966054072


def swiglu(x):
    value, gate = x.chunk(2, -1)
    return gate * torch.sigmoid(gate) * value


def rotate(x, heads):
    """Turn the pairs (i, i + half) of every head by position times 10000^(-2 i / size)."""
    size = x.shape[-1] // heads
    half = size // 2
    x = x.clone()
    for row in range(len(x)):
        for i in range(half):
            angle = row / 10000 ** (2 * i / size)
            for h in range(heads):
                a, b = x[row, h * size + i].clone(), x[row, h * size + i + half].clone()
                x[row, h * size + i] = a * math.cos(angle) - b * math.sin(angle)
                x[row, h * size + i + half] = b * math.cos(angle) + a * math.sin(angle)
    return x


def mps(s, pixels, ids, condition, threshold=0.01, count=2, heads=2, size=8):
    clip = {name.removeprefix("model."): value for name, value in s.items() if name.startswith("model.")}
    words, end = (linear(x, clip, "text_projection") for x in clip_text(clip, ids, 2, 2))
    asked = linear(clip_text(clip, condition, 2, 2)[0], clip, "text_projection")
    likeness = (words @ asked.T).max(-1).values
    keep = likeness / likeness.max() > threshold
    bias = torch.where(keep, 0.0, -torch.inf).double()
    x = linear(clip_picture(clip, pixels, 2, 2), clip, "visual_projection")
    for i in range(count):
        look, mix = f"cross_model.layers.{i}.0.fn", f"cross_model.layers.{i}.1.fn"
        y = norm(x, s, f"{look}.norm")
        k, v = linear(words, s, f"{look}.to_kv").chunk(2, -1)
        seen = linear(attention(linear(y, s, f"{look}.to_q"), k, v, heads, bias), s, f"{look}.to_out")
        x = x + seen + linear(swiglu(linear(y, s, f"{look}.ff.0")), s, f"{look}.ff.2")
        y = linear(norm(x, s, f"{mix}.norm"), s, f"{mix}.fused_attn_ff_proj")
        q, k, v, rest = y.split((heads * size, size, size, y.shape[-1] - (heads + 2) * size), -1)
        seen = linear(attention(rotate(q, heads), rotate(k, 1), v, heads), s, f"{mix}.attn_out")
        x = x + seen + linear(swiglu(rest), s, f"{mix}.ff_out.1")
    return clip["logit_scale"].exp() * (unit(x[0]) @ unit(end))
