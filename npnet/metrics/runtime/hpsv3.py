"""The scorer of ``npnet.metrics.hpsv3``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image, Resampling
from torch import Tensor, nn
from transformers import Qwen2VLConfig, Qwen2VLModel
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from npnet.errors import FieldError
from npnet.metrics.hpsv3 import FILES, HPSv3
from npnet.metrics.runtime.base import Scorer, to_tensor
from npnet.metrics.runtime.hpsv3_question import PLACE, REWARD, SHA256, read_question, sha256_of
from npnet.metrics.runtime.pixels import normalised, resized_as_pil
from npnet.weights.files import is_smoke
from npnet.weights.sources import read_config
from npnet.weights.tensors import LEGACY_BUFFERS, build_empty, load_strict, read_state, require_loaded
from npnet.weights.tokenizers import load_tokenizer

PIXELS = 256 * 28 * 28
"""Largest and smallest area of a picture that the model reads, both."""
HIDDEN = (1024, 16)
"""Widths inside the head."""
BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
AFTER = "<|vision_end|>"
"""Around the picture, by the template of Qwen2-VL's chats."""
UNUSED = (*LEGACY_BUFFERS, "lm_head.weight")
"""In the published file, and not part of the score: the head over words."""


class RewardModel(nn.Module):
    """Qwen2-VL without its head over words, and the head of the score, by the published names of its layers.

    Args:
        config: of Qwen2-VL.
        vocabulary: words and marks, the mark of the reward included.
    """

    def __init__(self, config: Mapping[str, Any], vocabulary: int) -> None:
        super().__init__()
        settings: Any = Qwen2VLConfig.from_dict(dict(config))
        settings.text_config.vocab_size = vocabulary
        self.body: Any = Qwen2VLModel(settings)
        width, (first, second) = settings.text_config.hidden_size, HIDDEN
        # the published head has dropout at 2, which does nothing here
        self.rm_head = nn.Sequential(
            *(nn.Linear(width, first), nn.ReLU(), nn.Identity(), nn.Linear(first, second), nn.ReLU()),
            nn.Linear(second, 2),
        )

    def make_rotations(self) -> None:
        """Make the buffers anew that no file has; they follow from the configuration."""
        for part in (self.body.visual, self.body.language_model):
            name = next(name for name, _ in part.named_children() if name.startswith("rotary"))
            setattr(part, name, type(getattr(part, name))(part.config))

    def forward(self, patches: Tensor, grid: tuple[int, int], before: Tensor, after: Sequence[Tensor]) -> Tensor:
        """Return mean and log-deviation of the preference, ``(B, 2)`` float32.

        Args:
            patches: ``(B, rows * columns, D)`` normalised.
            grid: rows and columns of patches.
            before: token ids in front of the picture, the same for all.
            after: B sequences of token ids behind it; the last one is the mark of the reward.
        """
        embed = self.body.get_input_embeddings()
        rows = [
            torch.cat([embed(before), self._see(picture, grid), embed(ids)])
            for picture, ids in zip(patches, after, strict=True)
        ]
        # attention is causal: what fills up a row behind its last token does not reach it, and needs no mask
        embeds = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        states = self.body.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        last = torch.stack([states[row, len(ids) - 1] for row, ids in enumerate(rows)])
        return self.rm_head(last.float())

    def _see(self, picture: Tensor, grid: tuple[int, int]) -> Tensor:
        height, width = grid
        merge = self.body.visual.spatial_merge_size
        places = torch.stack(
            torch.meshgrid(
                torch.arange(height, device=picture.device), torch.arange(width, device=picture.device), indexing="ij"
            )
        )
        places = places.reshape(2, height // merge, merge, width // merge, merge).transpose(2, 3).flatten(1).T
        tower = self.body.visual
        # lengths stay on the CPU, where transformers reads them: a GPU would be waited for in every layer
        sizes, ends = torch.tensor([[1, height, width]]), torch.tensor([0, height * width], dtype=torch.int32)
        return tower(picture, grid_thw=sizes, position_ids=places, cu_seqlens=ends).pooler_output


class HPSv3Scorer(Scorer):
    """The model, its tokenizer with the mark of the reward, and the question."""

    def __init__(self, metric: HPSv3, device: torch.device | str = "cpu") -> None:
        self.question = read_question(metric.code_path)
        base, field = (metric.path, "path") if metric.base_path is None else (metric.base_path, "base_path")
        config = read_config(base, field)
        if config is None or config.get("model_type") != "qwen2_vl":
            raise FieldError(field, base, "no config.json of a Qwen2-VL model")
        self.tokenizer = load_tokenizer(base, field)
        self.tokenizer.add_tokens([REWARD], special_tokens=True)
        self.model = build_empty(lambda: RewardModel(config, len(self.tokenizer)))
        dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        give(self.model, read_state(metric.path, FILES, "path"), metric.path, dtype)
        self.model.make_rotations()
        require_loaded(self.model)
        self.model.to(device)
        vision = self.model.body.config.vision_config
        self.patching: Any = Qwen2VLImageProcessor()
        self.patch = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        super().__init__(metric, device, smoke=is_smoke(metric.path))

    def remarks(self) -> list[str]:
        """See ``Scorer.remarks``: where the question is not the published one."""
        digest = sha256_of(self.question)
        return [] if digest == SHA256 else [f"the question differs from the published one; SHA-256: {digest}"]

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        height, width = self._size(*images.shape[-2:])
        return self._gaussians(resized_as_pil(images.float(), height, width), prompts)[:, 0]

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        scores = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            height, width = self._size(picture.height, picture.width)
            resized = picture.resize((width, height), Resampling.BICUBIC)
            scores.append(self._gaussians(to_tensor(resized)[None], [prompt])[:, 0])
        return torch.cat(scores)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        return smart_resize(height, width, self.patch[0] * self.patch[1], PIXELS, PIXELS)

    def _gaussians(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Resized pictures -> ``(B, 2)`` float32, means and log-deviations."""
        patches, *grid = self.patching.patchify(normalised(images), *self.patch)
        patches = patches.to(self.device, self.model.body.dtype)
        before, after = self._ids(BEFORE), [self._ids(AFTER + self._asked(prompt)) for prompt in prompts]
        return self.model(patches, tuple(grid), before, after)

    def _asked(self, prompt: str) -> str:
        """Return the question up to the mark of the reward: attention is causal, and what follows changes nothing."""
        return self.question.partition(REWARD)[0].replace(PLACE, prompt) + REWARD

    def _ids(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer(text)["input_ids"], device=self.device)


def give(model: RewardModel, state: Mapping[str, Tensor], source: str, dtype: torch.dtype) -> None:
    """Give the model the tensors of the published file, the head's in float32.

    Raises:
        FieldError: of ``path``: a key is missing or too many, or has another shape.
    """
    head = {name: value for name, value in state.items() if name.startswith("rm_head.")}
    body = {rename(name): value for name, value in state.items() if name not in head}
    load_strict(model.body, body, "path", source, dtype, UNUSED)
    load_strict(model.rm_head, {name.removeprefix("rm_head."): value for name, value in head.items()}, "path", source)


def rename(name: str) -> str:
    """Give a published name ours; files of transformers before and after its change of Qwen2-VL's names are taken."""
    name = re.sub(r"^model\.(?=visual\.|language_model\.)", "", name)
    return re.sub(r"^model\.", "language_model.", name)
