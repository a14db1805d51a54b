"""From a directory or a hub id to a diffusers pipeline; what the libraries raise on the way becomes one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from npnet.backbones.sources import cached_file, is_local, part_class, read_index, split_hub_path
from npnet.errors import UserError, one_line


def load_pipeline(
    pipeline_class: str,
    source: str,
    dtype: torch.dtype,
    revision: str | None = None,
    variant: str | None = None,
    float32_parts: Sequence[str] = (),
    needed: Mapping[str, str | None] | None = None,
    **replaced: Any,
) -> Any:
    """Load a diffusers pipeline on the CPU.

    Args:
        pipeline_class: name of the class in diffusers.
        source: a directory, or a hub id.
        dtype: of the weights.
        revision: of the hub repository.
        variant: of the weight files; a directory without such files is loaded as it is.
        float32_parts: components that are kept in float32.
        needed: see ``sources.check_source``.
        **replaced: components to use instead of the published ones.

    Raises:
        UserError: the directory is incomplete, the hub cannot be reached, or a tokenizer's vocabulary is empty.
    """
    import diffusers

    if Path(source).is_dir():
        has_variant = variant and any(Path(source).glob(f"*/*.{variant}.*"))
        options: dict[str, Any] = {"variant": variant} if has_variant else {}
    else:
        read_index("backbone.path", source, fetch("backbone.path", source, "model_index.json", revision), needed)
        options = {"variant": variant, "revision": revision}
    dtypes = {"default": dtype, **dict.fromkeys(float32_parts, torch.float32)}
    pipeline = guarded(
        "backbone.path",
        source,
        lambda: getattr(diffusers, pipeline_class).from_pretrained(
            source, dtype=dtypes, use_safetensors=True, **memory_option(), **options, **replaced
        ),
    )
    check_tokenizers(source, pipeline)
    return pipeline


@contextlib.contextmanager
def without_loading_bars() -> Iterator[None]:
    """Keep diffusers' and transformers' loading bars off the screen; bars of a download stay, and settings too."""
    import diffusers
    import huggingface_hub.utils as hub
    import transformers

    loggers = (diffusers.utils.logging, transformers.utils.logging)
    were_on = [logger.is_progress_bar_enabled() for logger in loggers]
    downloads_shown = not hub.are_progress_bars_disabled()
    for logger in loggers:
        logger.disable_progress_bar()
    if downloads_shown:  # transformers' switch turns these off too
        hub.enable_progress_bars()
    try:
        yield
    finally:
        for logger, was_on in zip(loggers, were_on, strict=True):
            if was_on:
                logger.enable_progress_bar()
        if not downloads_shown:
            hub.disable_progress_bars()


def load_part(key: str, classes: Sequence[str], source: str, dtype: torch.dtype) -> Any:
    """Load one model from a directory, or from ``owner/name`` or ``owner/name/subfolder`` on the hub.

    The class is the one its configuration names, the first of ``classes`` where it names none.

    Raises:
        UserError: it is not there, or not one of ``classes``.
    """
    import diffusers

    if is_local(source):
        repo, subfolder, config_file = source, None, Path(source) / "config.json"
    else:
        repo, subfolder, _ = split_hub_path(source)
        config_file = fetch(key, repo, f"{subfolder}/config.json" if subfolder else "config.json")
    model_class = getattr(diffusers, part_class(key, source, config_file, classes))
    options = {"subfolder": subfolder} if subfolder else {}
    return guarded(key, source, lambda: model_class.from_pretrained(repo, dtype=dtype, **memory_option(), **options))


def load_weights(key: str, source: str, module: torch.nn.Module) -> None:
    """Load a ``.safetensors`` file, or ``owner/name/file.safetensors`` on the hub, into ``module``.

    Raises:
        UserError: it is not there, or of another layout.
    """
    from safetensors.torch import load_file

    repo, subfolder, file = split_hub_path(source)
    path = Path(source) if is_local(source) else fetch(key, repo, "/".join(filter(None, (subfolder, file))))
    try:
        module.load_state_dict(guarded(key, source, lambda: load_file(path)))
    except RuntimeError as error:
        raise UserError(f"{key}={source}: of another layout than the model: {one_line(error)[:200]}") from error


def set_channels_last(module: torch.nn.Module) -> None:
    """Put the weights of convolutions into channels-last order: 2-D and 3-D ones, which torch's switch cannot mix."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def fetch(key: str, repo: str, file: str, revision: str | None = None) -> Path:
    """Return a file of a hub repository, from the cache where it is there.

    Raises:
        UserError: the hub cannot be reached, or has no such repository or file.
    """
    from huggingface_hub import hf_hub_download

    found = cached_file(repo, file, revision)
    return found or Path(guarded(key, repo, lambda: hf_hub_download(repo, file, revision=revision)))


def memory_option() -> dict[str, bool]:
    """Return diffusers' option for loading without a second copy in memory, where accelerate is installed."""
    from diffusers.utils import is_accelerate_available

    return {"low_cpu_mem_usage": is_accelerate_available()}


def guarded(key: str, source: str, load: Any) -> Any:
    """Call ``load`` without bars, and turn what diffusers, transformers and the hub raise into one line."""
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    from safetensors import SafetensorError

    try:
        with without_loading_bars():
            return load()
    except GatedRepoError as error:
        raise UserError(f"{key}={source}: accept its licence on the hub and log in (hf auth login)") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{key}={source}: neither a directory here nor a repository on the hub") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{key}={source}: not in the local hub cache, and the hub cannot be reached; give a local directory"
        ) from error
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise UserError(f"{key}={source}: cannot be loaded: {one_line(error)[:300]}") from error
    except RuntimeError as error:
        if not str(error).startswith("Error(s) in loading state_dict"):
            raise
        raise UserError(f"{key}={source}: cannot be loaded: {one_line(error)[:300]}") from error


def check_tokenizers(source: str, pipeline: Any) -> None:
    """Refuse a tokenizer that knows nothing but its marks: transformers returns one where its files are missing.

    Raises:
        UserError: names the tokenizer.
    """
    for name, part in pipeline.components.items():
        if not name.startswith("tokenizer") or part is None:
            continue
        marks = set(part.all_special_tokens) | {str(token) for token in part.added_tokens_decoder.values()}
        if len(set(part.get_vocab()) - marks) < 8:
            raise UserError(f"backbone.path={source}: {name} has an empty vocabulary (its files are missing)")
