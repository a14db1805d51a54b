"""Training of the two text encoders: captions against pictures, on training prompts alone; frozen afterwards.

A generator trained together with its text encoders from nothing learns colours and shapes but takes relations at
random, so the encoders learn the language first. Their image tower is thrown away; it is not the scorer's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from npnet.shapes.grammar import Scene, parse, training_prompts
from npnet.shapes.scenes import draw
from npnet.shapes.tokenizer import BOS_ID, EOS_ID, MAX_LENGTH, make_tokenizer
from npnet.shapes.towers import ImageTower, contrastive_loss
from npnet.shapes.training import Progress, caption_batch, learning_rate, seed_for, set_learning_rate, stream
from npnet.shapes.variants import Variant

__all__ = ["TextEncoders", "train_text_encoders"]

BATCH, NEGATIVES = 64, 3
SCALE = 16.0
PEAK_LEARNING_RATE = 2e-3
HEADS = 4
DIMENSION = 64


class TextEncoders(nn.Module):
    """Both encoders, and what ties them to pictures while they learn.

    Three readings of a prompt are trained alike, so that each thing the pipeline passes on carries the prompt: the
    first encoder's pooled output, the second one's projection, and the states of the last layer but one of both,
    which are the prompt embeddings.
    """

    def __init__(self, variant: Variant, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=variant.text_width,
            intermediate_size=2 * variant.text_width,
            projection_dim=variant.text_width,
            num_hidden_layers=variant.text_layers,
            num_attention_heads=HEADS,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
            pad_token_id=EOS_ID,
            hidden_act="gelu",
        )
        self.tokenizer = tokenizer
        self.first = CLIPTextModel(config)
        self.second = CLIPTextModelWithProjection(config)
        self.images = ImageTower((32, 64, 96), DIMENSION)
        width = variant.text_width
        self.heads = nn.ModuleList(nn.Linear(size, DIMENSION) for size in (width, width, 2 * width * MAX_LENGTH))
        # Transformers' default is for far wider encoders; from 0.02 these take twice as long to tell prompts apart.
        for encoder in (self.first, self.second):
            for parameter in encoder.parameters():
                if parameter.ndim == 2:
                    nn.init.normal_(parameter, std=0.06)

    def embed(self, scenes: list[Scene]) -> Tensor:
        """Return (3, B, DIMENSION) of unit length: the three readings."""
        texts = [scene.text() for scene in scenes]
        ids = self.tokenizer(texts, padding="max_length", max_length=MAX_LENGTH, return_tensors="pt").input_ids
        first = self.first(ids, output_hidden_states=True)
        second = self.second(ids, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1).flatten(1)
        readings = (first.pooler_output, second.text_embeds, states)
        return torch.stack([F.normalize(head(r), dim=-1) for head, r in zip(self.heads, readings, strict=True)])


def train_text_encoders(variant: Variant) -> TextEncoders:
    """Train both encoders from the variant's seed."""
    torch.manual_seed(seed_for(variant, "text weights"))
    encoders = TextEncoders(variant, make_tokenizer())
    optimizer = torch.optim.AdamW(encoders.parameters(), weight_decay=0.01)
    meanings = sorted({parse(prompt).meaning() for prompt in training_prompts()})
    allowed = set(meanings)
    generator = stream(variant, "text data")
    progress = Progress("text", variant.text_steps)
    for step in range(variant.text_steps):
        chosen, negatives = caption_batch(meanings, BATCH, NEGATIVES, generator, allowed)
        embedded = encoders.images(draw(chosen, generator))
        readings = encoders.embed(chosen + negatives)
        losses = (
            contrastive_loss(embedded, reading[:BATCH], reading[BATCH:].unflatten(0, (BATCH, NEGATIVES)), SCALE)
            for reading in readings
        )
        loss = sum(losses, torch.zeros(()))
        set_learning_rate(optimizer, learning_rate(step, variant.text_steps, PEAK_LEARNING_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoders.parameters(), 1.0)
        optimizer.step()
        progress(step + 1, f"loss {loss.item() / 3:.3f}")
    return encoders.eval().requires_grad_(False)
