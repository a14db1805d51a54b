"""NPNet: the network that turns source noise into golden noise (Zhou et al. 2024, Golden Noise for Diffusion Models).

Symbols of the paper: x_T is ``noise``; E(c) is ``prompt_embeds``; e (Eq. 7) the text term; the predicted
x'_T (Eq. 9) is ``golden_noise`` = alpha e + (SVD branch, Eq. 6) + beta (residual branch, Eq. 7), trained by the MSE of
Eq. 8. The published code's alpha is 2 sigmoid(raw alpha) - 1, in (-1, 1); ``alpha`` here is the raw value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from npnet.bounds import Number
from npnet.description import imported
from npnet.fit import npnet_sizes
from npnet.networks import base, svd, terms
from npnet.networks.arguments import FeatureLayout, NPNetArguments, Pooled, Signs, Size, Wide
from npnet.networks.checks import check_decomposition, check_noise, check_prompt
from npnet.networks.official import read_official
from npnet.networks.sizes import Windows
from npnet.networks.unet import UNetBranch

TEXT = ("text.", "alpha")
"""Beginnings of the names of the text term's weights."""


class NPNet(base.NoiseNetwork, tags=["diffusion"], paper_url="https://arxiv.org/abs/2411.09502"):
    """Predict golden noise from source noise and a prompt.

    The defaults are the published SDXL network. Weights are random until ``from_pretrained`` or training sets them.

    Args:
        latent_channels: C of the noise.
        latent_size: (h, w) of the training; other sizes are cut into windows, see ``npnet.networks.sizes``.
        text_term: ``ada_group_norm`` (the paper's), ``spatial`` (any prompt length, masks, pooled embeddings) or
            ``off`` (no prompt is needed).
        prompt_embed_dim: D of the prompt embeddings.
        prompt_length: L of the prompt embeddings; only ``ada_group_norm`` depends on it.
        pooled_embed_dim: P of the pooled embeddings, 0 for none; only ``spatial`` uses them.
        singular_value_branch: ``attention``, ``no_attention``, ``off`` (the noise instead) or ``left_out`` (nothing).
        singular_vector_signs: ``canonical`` or ``lapack`` (the released weights), see ``npnet.networks.svd``.
        residual_branch: False leaves it out.
        trunk: the network of the residual branch. For a Swin transformer, a timm name or
            ``npnet.networks.arguments.SwinSizes``. For a U-Net, ``arguments.UNetSizes``, or ``unet`` for sizes that
            suit the latents; the next three arguments then have no effect.
        pretrained_trunk: start from timm's weights, as the paper does. ``load()`` downloads them; a checkpoint replaces
            them.
        feature_layout: ``official`` or ``spatial``, see ``npnet.networks.residual``.
        position_map: add a learnable position map to the Swin's input.
        alpha_init: raw alpha at the start; 0 closes the text term's gate, 2 opens it to 0.76.
        beta_init: beta at the start.

    Attributes:
        config: every constructor argument as a plain value, except ``pretrained_trunk``.

    Raises:
        ValueError: a value is not allowed, or sizes do not fit.
    """

    text_weights = TEXT
    switches: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {
        ("text_term", "off"): TEXT,
        ("singular_value_branch", "off"): ("singular_values.",),
        ("singular_value_branch", "no_attention"): ("singular_values.attention.",),
    }

    def __init__(
        self,
        latent_channels: Size = 4,
        latent_size: Size | tuple[Size, Size] = (128, 128),
        text_term: Literal["spatial", "ada_group_norm", "off"] = "ada_group_norm",
        prompt_embed_dim: Wide = 2048,
        prompt_length: Wide = 77,
        pooled_embed_dim: Pooled = 0,
        singular_value_branch: Literal["attention", "no_attention", "off", "left_out"] = "attention",
        singular_vector_signs: Signs = "canonical",
        residual_branch: bool = True,
        trunk: str | Mapping[str, Any] = "swin_tiny_patch4_window7_224",
        pretrained_trunk: bool = False,
        feature_layout: FeatureLayout = "official",
        position_map: bool = False,
        alpha_init: Number = 0.0,
        beta_init: Number = 0.0,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        c = NPNetArguments(**given).plain()
        super().__init__({name: value for name, value in c.items() if name != "pretrained_trunk"})
        self.text = terms.text_term(c)
        self.alpha = nn.Parameter(torch.tensor([c["alpha_init"]])) if self.text is not None else None
        self.singular_values = terms.singular_value_branch(c)
        self.residual = terms.residual_branch(c)
        self.beta = nn.Parameter(torch.tensor([c["beta_init"]])) if residual_branch else None
        self._trunk_to_load = c["trunk"] if pretrained_trunk and residual_branch else None
        self.register_load_state_dict_post_hook(_forget_pretrained_trunk)

    def forward(
        self,
        noise: Tensor,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
        decomposition: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return golden noise, equations 6 to 9 of the paper; computed in float32 for any input dtype.

        Each sample depends on its own noise and prompt only. In ``eval()`` mode the result is deterministic. (Weights
        in half precision compute their corrections in half precision; the noise to which these are added stays
        float32.)

        Args:
            noise: ``(B, C, h, w)`` initial noise, N(0, 1), before the scheduler's ``init_noise_sigma``.
            prompt_embeds: ``(B, L, D)``, the conditional half only; not needed with ``text_term=off``.
            pooled_prompt_embeds: ``(B, P)``, needed where the network was built with ``pooled_embed_dim``.
            prompt_mask: ``(B, L)``, 1 (True) for real tokens; ``ada_group_norm`` ignores it.
            decomposition: U, S, Vh from ``decompose`` for this noise, to avoid the SVD here; any floating dtype.

        Returns:
            ``(B, C, h, w)`` on the noise's device and in its dtype.

        Raises:
            ValueError: the noise or the embeddings are not what the network was built for, or the noise is not finite.
            RuntimeError: ``pretrained_trunk`` is True, and neither ``load()`` nor a checkpoint has loaded the weights.
        """
        if self._trunk_to_load is not None:
            raise RuntimeError("pretrained_trunk was asked for: call load(), or load a checkpoint, before forward")
        check_noise(noise, self.config["latent_channels"])
        check_prompt(self.config, len(noise), prompt_embeds, pooled_prompt_embeds, prompt_mask)
        dtype = next(self.parameters()).dtype
        tied_to_size = self.singular_values is not None or not isinstance(self.residual, UNetBranch | None)
        windows = Windows.of(noise.shape[-2:], self.config["latent_size"] if tied_to_size else None)
        source = windows.split(noise.float())

        golden, text = source * (self.config["singular_value_branch"] != "left_out"), None
        if self.text is not None:
            assert prompt_embeds is not None  # as ``check_prompt`` saw
            pooled = None if pooled_prompt_embeds is None else pooled_prompt_embeds.to(dtype)
            text = self.text(source.to(dtype), windows, prompt_embeds.to(dtype), pooled, prompt_mask)
            golden = golden + self.text_gate * text
        if self.singular_values is not None:
            parts = self.decompose(source) if decomposition is None else self._given(decomposition, noise)
            parts = svd.Decomposition(*(part.to(dtype) for part in parts))
            golden = golden + self.singular_values(parts, noise.shape[1])
        if isinstance(self.residual, UNetBranch):
            golden = golden + self.beta * self.residual(source.to(dtype), text)
        elif self.residual is not None:
            conditioned = source if text is None else source + text
            golden = golden + self.beta * self.residual(conditioned.to(dtype))
        return windows.join(golden).to(noise.dtype)

    @property
    def text_gate(self) -> Tensor:
        """The effective alpha of Eq. 9, in (-1, 1), shape ``(1,)``."""
        assert self.alpha is not None, "there is no text term"
        return 2 * torch.sigmoid(self.alpha) - 1

    def decompose(self, noise: Tensor) -> svd.Decomposition:
        """Return the SVD that ``forward`` would compute for noise of the trained size, with this network's signs."""
        return svd.decompose(noise, self.config["singular_vector_signs"])

    def decomposer(self) -> base.Decompose | None:
        """See ``NoiseNetwork.decomposer``: the SVD, where there is a branch that needs it."""
        if self.singular_values is None:
            return None
        return partial(svd.decompose, signs=self.config["singular_vector_signs"])

    def gates(self) -> dict[str, Tensor]:
        """See ``NoiseNetwork.gates``: at 0 the text term and the residual branch have no effect."""
        return {name: gate for name, gate in (("alpha", self.alpha), ("beta", self.beta)) if gate is not None}

    @classmethod
    def reads_prompt(cls, arguments: Mapping[str, Any]) -> bool:
        """See ``NoiseNetwork.reads_prompt``; YAML reads a bare ``off`` as False."""
        return arguments.get("text_term") not in ("off", False)

    @property
    def sizes(self) -> dict[str, int]:
        """See ``NoiseNetwork.sizes``: without a text term there are no embeddings; the spatial one takes any length."""
        return npnet_sizes(self.config)

    def load(self) -> Self:
        """Download and copy the pretrained trunk, where ``pretrained_trunk`` asks for it; later calls do nothing."""
        if self._trunk_to_load is not None and self.residual is not None:
            imported("npnet.networks.residual:load_pretrained")(self.residual.trunk, self._trunk_to_load)
            self._trunk_to_load = None
        return self

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See ``NoiseNetwork.from_config``: stored weights replace pretrained ones."""
        return cls(**{**config, "pretrained_trunk": False})

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, torch_dtype: torch.dtype | None = None, **options: Any
    ) -> Self:
        """Load a network, in ``eval()`` mode and on the CPU; see ``NoiseNetwork.from_pretrained``.

        Args:
            pretrained_model_name_or_path: a directory that ``save_pretrained`` wrote, a Hub repository of that form
                (``owner/name``), or an official ``.pth`` file (SDXL, DreamShaper, Hunyuan-DiT).
            torch_dtype: of the weights, float32 by default.
            **options: ``text_term="off"`` drops the text term. The network then needs no embeddings and works with any
                backbone that has the same latents, as in table 7 of the paper. ``singular_value_branch="no_attention"``
                applies a network without its attention. The published SDXL training script builds this form from the
                same keys, while the inference code builds ``attention``. ``"off"`` drops the branch, and None keeps the
                trained form. For the Hub: ``revision``, ``token``, ``cache_dir``, ``local_files_only`` and
                ``force_download``.

        Raises:
            FileNotFoundError: the directory, file or repository does not exist, or a file is missing in it.
            ValueError: it belongs to another class, or keys or shapes do not match; the message names them.
            TypeError: an unknown option.
        """
        return super().from_pretrained(pretrained_model_name_or_path, torch_dtype=torch_dtype, **options)

    @classmethod
    def import_line(cls) -> str:
        """See ``NoiseNetwork.import_line``."""
        return "from npnet import NPNet" if cls is NPNet else super().import_line()

    def _stored_config(self) -> dict[str, Any]:
        return dict(self.config) if type(self) is NPNet else super()._stored_config()

    def _check_start(self, config: Mapping[str, Any], source: str | Path) -> None:
        signs = "singular_vector_signs"
        own = self.config[signs]
        if self.singular_values is not None and config.get(signs, own) != own:
            raise ValueError(f"{source} was trained with {signs}={config[signs]}, this network has {own}")

    @classmethod
    def _read(cls, source: str | Path, hub_options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        path = Path(source)
        if path.is_file() and path.suffix in (".pth", ".pt"):
            return read_official(path, NPNet)
        return super()._read(source, hub_options)

    def _given(self, decomposition: Sequence[Tensor], noise: Tensor) -> svd.Decomposition:
        matrix = svd.matrix_shape(noise.shape[1], noise.shape[-2:])
        check_decomposition(decomposition, noise, self.config["latent_size"], matrix)
        parts = svd.Decomposition(*(part.to(noise.device, torch.float32) for part in decomposition))
        return svd.canonical_signs(parts) if self.config["singular_vector_signs"] == "canonical" else parts


def _forget_pretrained_trunk(network: NPNet, _: object) -> None:
    network._trunk_to_load = None
