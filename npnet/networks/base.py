"""The contract of networks: source noise and a prompt in, golden noise out.

A network is one class and one YAML file. It may live in a package of your own (``network._target_=my_pkg.MyNet``, or a
YAML file in ``--config-dir``). Training, the noise method and the comparison use only what this class states.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from npnet.fit import EMBED_SIZES, PURPOSE, misfit
from npnet.networks import checkpoint
from npnet.networks.start import Start
from npnet.networks.stored import CLASS, is_class, other_class
from npnet.records import Conditioning

Decompose = Callable[[Tensor], Sequence[Tensor]]
"""``(B, C, *grid)`` noise -> its decomposition; can be pickled, so that a data loader's processes can call it."""


class NoiseNetwork(nn.Module, ModelHubMixin, library_name="npnet", tags=["initial-noise", "golden-noise"]):
    """The base of every network.

    A subclass passes its constructor's arguments to ``super().__init__`` as plain JSON values. It then has saving,
    loading, fine-tuning and the comparison. Training sets the arguments ``latent_channels``, ``latent_size``,
    ``prompt_embed_dim``, ``prompt_length`` and ``pooled_embed_dim``, where a subclass has them, to the sizes of the
    data.

    Args:
        config: the constructor's arguments by name. With them and the weights, the network can be built again.

    Attributes:
        config: the same.
        trained_for: how the training pairs were made (``training.export.purpose``); empty where this is not known.
    """

    spatial_axes: ClassVar[int] = 2
    """Axes of the noise after its channels: 2 for pictures, 3 for video."""
    text_weights: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of weights that depend on the backbone's text; fine-tuning for another may drop them."""
    switches: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {}
    """(argument, value) that may be set on a trained network -> beginnings of the names of the weights that then go."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(config)
        self.trained_for: dict[str, Any] = {}

    @abstractmethod
    def forward(
        self,
        noise: Tensor,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Return golden noise with the shape, dtype and device of ``noise``.

        Each sample depends on its own noise and prompt only; in ``eval()`` mode the result is deterministic. A network
        whose ``decomposer`` is not None also takes ``decomposition=``, what that function returned for this noise.

        Args:
            noise: ``(B, C, *grid)``, N(0, 1), floating.
            prompt_embeds: ``(B, L, D)``, the conditional half only.
            pooled_prompt_embeds: ``(B, P)``.
            prompt_mask: ``(B, L)``, 1 (True) for real tokens.

        Raises:
            ValueError: the noise or the embeddings are not what the network was built for.
        """

    def improve(self, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """Return golden noise for the prompts of ``conditioning``; see ``forward``."""
        given = conditioning.prompt_embeds, conditioning.pooled_prompt_embeds, conditioning.prompt_mask
        return self(noise, *given)

    @classmethod
    def reads_prompt(cls, arguments: Mapping[str, Any]) -> bool:
        """Say whether a network with these constructor arguments needs prompt embeddings, before it is built."""
        return True

    @property
    def sizes(self) -> dict[str, int]:
        """The required sizes of noise and embeddings: ``latent_channels``, and those of ``EMBED_SIZES`` that it reads.

        The default takes them from ``config``, where they are given and not 0.
        """
        return {name: self.config[name] for name in ("latent_channels", *EMBED_SIZES) if self.config.get(name)}

    def misfit(self, latent_shape: Sequence[int], embed_dims: Mapping[str, int], backbone: str) -> str | None:
        """Say why the network cannot serve a backbone; None where it can.

        Args:
            latent_shape: ``(C, *grid)`` of the backbone's noise.
            embed_dims: its sizes by the names of ``EMBED_SIZES``.
            backbone: its name, for the line.
        """
        can_go = ("text_term", "off") in self.switches
        return misfit(self.sizes, latent_shape, embed_dims, backbone, self.spatial_axes, can_go)

    def decomposer(self) -> Decompose | None:
        """Return the function that decomposes noise ahead of ``forward``, in a loader's workers, or None."""
        return None

    def gates(self) -> dict[str, Tensor]:
        """Return the weights that training logs, by name, such as gates; the mean of each is logged."""
        return {}

    def load(self) -> Self:
        """Load pretrained weights of a part, where the configuration asks for them. Called once before training."""
        return self

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a network from stored arguments; its weights are loaded afterwards."""
        return cls(**config)

    def save_pretrained(  # type: ignore[override]  # the mix-in's own upload has no place in what is written here
        self,
        save_directory: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        config: dict[str, Any] | None = None,
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Write ``model.safetensors``, ``config.json`` and, if there is none, a model card to a directory.

        ``push_to_hub(repo_id)`` uploads the same files.

        Args:
            save_directory: created if it does not exist. Older weights in it are replaced; a model card is kept.
            dtype: of the stored weights. Half precision halves the file; loading converts it to float32 again.
            config: has no effect; ``push_to_hub`` passes it.
            model_card_kwargs: values for the model card's template.
        """
        directory = Path(save_directory)
        told = {PURPOSE: self.trained_for} if self.trained_for else {}
        checkpoint.save(self, directory, {**self._stored_config(), **told}, dtype)
        if not (directory / "README.md").exists():
            self.generate_model_card(**(model_card_kwargs or {})).save(directory / "README.md")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, torch_dtype: torch.dtype | None = None, **options: Any
    ) -> Self:
        """Load a network, on the CPU and in ``eval()`` mode; only the checkpoint is downloaded.

        The checkpoint is always loaded by the class on which this method is called, whatever class it names.

        Args:
            pretrained_model_name_or_path: a directory that ``save_pretrained`` wrote, or a Hub repository of that form
                (``owner/name``).
            torch_dtype: of the weights, float32 by default.
            **options: for the Hub, ``revision``, ``token``, ``cache_dir``, ``local_files_only`` and ``force_download``;
                and the arguments in ``switches``, which switch a part off (None keeps the trained form).

        Raises:
            FileNotFoundError: the directory, file or repository does not exist, or a file is missing in it.
            ValueError: it belongs to another class, or keys or shapes do not match; the message names them.
            TypeError: an unknown option.
        """
        parts = {name for name, _ in cls.switches}
        allowed = (*sorted(parts), *checkpoint.HUB_OPTIONS)
        unknown = [name for name in options if name not in allowed]
        if unknown:
            raise TypeError(f"from_pretrained has no option {unknown[0]!r}; allowed: torch_dtype, {', '.join(allowed)}")
        source = pretrained_model_name_or_path
        hub = {name: value for name, value in options.items() if name not in parts}
        config, tensors = cls._read(source, hub)
        trained_for = config.pop(PURPOSE, None)
        for name, value in options.items():
            if name not in parts or value is None or value == config.get(name):
                continue
            if (name, value) not in cls.switches or config.get(name) == "off":
                trained = config.get(name)
                said = f"{source} was trained with {name}={trained}"
                raise ValueError(f"{said}; a part can be switched off, got {value!r}")
            config[name] = value
            tensors = {key: t for key, t in tensors.items() if not key.startswith(cls.switches[name, value])}
        network = checkpoint.build(cls, config, source, tensors)
        checkpoint.require_match(network, tensors, source)
        network.load_state_dict(tensors)
        network.trained_for = trained_for if isinstance(trained_for, dict) else {}
        return network.eval() if torch_dtype is None else network.eval().to(torch_dtype)

    def start_from(self, source: str | Path, **hub_options: Any) -> Start:
        """Take the weights of a network trained for another backbone, for fine-tuning.

        All weights must match, except ``text_weights``: if these do not all fit, they stay newly initialised.

        Args:
            source: as for ``from_pretrained``.
            **hub_options: as for ``from_pretrained``.

        Raises:
            FileNotFoundError: as ``from_pretrained``.
            ValueError: weights other than those of the text term do not match.
        """
        config, tensors = self._read(source, hub_options)
        trained_for = config.pop(PURPOSE, None)
        self._check_start(config, source)
        state, text = self.state_dict(), self.text_weights
        own = {key: tensor.shape for key, tensor in state.items() if text and key.startswith(text)}
        other = {key: tensor.shape for key, tensor in tensors.items() if text and key.startswith(text)}
        told = trained_for if isinstance(trained_for, dict) else {}
        start = Start(trained_for=told)
        if own != other:
            start = Start(tuple(sorted(own)), tuple(sorted(other)), told)
            tensors = {key: tensor for key, tensor in tensors.items() if key not in other}
            tensors |= {key: state[key] for key in own}
        checkpoint.require_match(self, tensors, source)
        self.load_state_dict(tensors)
        return start

    @classmethod
    def place(cls) -> str:
        """Return the class's place, ``package.module.Class``, by which a configuration names it."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @classmethod
    def import_line(cls) -> str:
        """Return the statement that brings the class into a program, for model cards."""
        return f"from {cls.__module__} import {cls.__qualname__}"

    def _stored_config(self) -> dict[str, Any]:
        """Return the content of ``config.json``: the arguments, and the place of the class for readers."""
        return {CLASS: self.place(), **self.config}

    def _check_start(self, config: Mapping[str, Any], source: str | Path) -> None:
        """Refuse weights that have the same shapes but mean something else here."""

    @classmethod
    def _read(cls, source: str | Path, hub_options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return a checkpoint's constructor arguments and float32 weights."""
        config, tensors = checkpoint.read(source, hub_options)
        exported = config.pop(CLASS, None)
        if exported is not None and not is_class(exported, cls.place()):
            raise ValueError(f"{source}: {other_class(exported, cls.place())}")
        return config, tensors
