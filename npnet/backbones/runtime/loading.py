"""Load a diffusers pipeline from a directory or a hub id; errors of the libraries become one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub.utils as hub
import torch
import transformers
from diffusers.utils import is_accelerate_available
from safetensors import SafetensorError

from npnet.backbones.files import INDEX, null_parts, part_class, read_index
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime.remarks import Remarks
from npnet.description import imported
from npnet.errors import FieldError, one_line
from npnet.weights.files import local_path
from npnet.weights.sources import fetch, hub_reason, is_local, split_hub_path
from npnet.weights.tensors import read_tensors
from npnet.weights.tokenizers import check_vocabulary

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_pipeline(description: PipelineBackbone, dtype: torch.dtype, **replaced: Any) -> Any:
    """Load a description's pipeline on the CPU.

    Args:
        description: names the class, the source, its revision and the variant of its weight files; a directory without
            such files is loaded as it is.
        dtype: of the weights, but for the family's float32 parts.
        **replaced: components to use instead of the published ones.

    Raises:
        FieldError: the directory is incomplete, the hub cannot be reached, or a tokenizer's vocabulary is empty.
    """
    source, layout, variant = description.source, description.layout, description.weight_variant
    folder = local_path(source)
    if folder.is_dir():
        index = folder / INDEX
        has_variant = variant and any(folder.glob(f"*/*.{variant}.*"))
        options: dict[str, Any] = {"variant": variant} if has_variant else {}
        place = str(folder)
    else:
        index = fetch(source, [INDEX], "path", description.revision)
        read_index("path", source, index, description.needed())
        options, place = {"variant": variant, "revision": description.revision}, source
    # diffusers looks for a part that the index marks as none, unless it is told so
    absent = dict.fromkeys(null_parts("path", source, index, layout.optional_parts))
    dtypes = {"default": dtype, **dict.fromkeys(layout.float32_parts, torch.float32)}
    pipeline_class = imported(f"diffusers:{layout.pipeline}")
    pipeline = guarded(
        "path",
        source,
        lambda: pipeline_class.from_pretrained(
            place, dtype=dtypes, use_safetensors=True, **memory_option(), **options, **{**absent, **replaced}
        ),
    )
    check_tokenizers(source, pipeline)
    for name, part in pipeline.components.items():
        check_whole("path", source, part, f"{name}: ")
    return pipeline


@contextlib.contextmanager
def without_loading_bars() -> Iterator[None]:
    """Hide the loading bars of diffusers and transformers; download bars and settings stay."""
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


def load_part(field: str, classes: Sequence[str], source: str, dtype: torch.dtype) -> Any:
    """Load one model from a directory, or from ``owner/name`` or ``owner/name/subfolder`` on the hub.

    The class is the one its configuration names, the first of ``classes`` where it names none.

    Raises:
        FieldError: it is not there, or not one of ``classes``.
    """
    options: dict[str, Any] = {}
    if is_local(source):
        repo = str(local_path(source))
        config_file = Path(repo) / "config.json"
    else:
        repo, subfolder, _ = split_hub_path(source)
        config_file = fetch(repo, [f"{subfolder}/config.json" if subfolder else "config.json"], field)
        options = {"subfolder": subfolder} if subfolder else {}
    model_class = getattr(diffusers, part_class(field, source, config_file, classes))
    model = guarded(field, source, lambda: model_class.from_pretrained(repo, dtype=dtype, **memory_option(), **options))
    check_whole(field, source, model)
    return model


def load_weights(field: str, source: str, module: torch.nn.Module) -> None:
    """Load a ``.safetensors`` file, or ``owner/name/file.safetensors`` on the hub, into ``module``.

    Raises:
        FieldError: it is not there, or of another layout.
    """
    state = read_tensors(weight_file(field, source), field)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise FieldError(field, source, f"does not have the layout of the model: {one_line(error)[:200]}") from error
    check_whole(field, source, module)


def weight_file(field: str, source: str) -> Path:
    """Return a file of weights, from the hub where it is one of it (``owner/name/folder/FILE``).

    Raises:
        FieldError: the file cannot be found or downloaded.
    """
    if is_local(source):
        return local_path(source)
    repo, subfolder, file = split_hub_path(source)
    return fetch(repo, ["/".join(filter(None, (subfolder, file)))], field)


def set_channels_last(module: torch.nn.Module) -> None:
    """Put the weights of convolutions into channels-last order: 2-D and 3-D ones, which torch's switch cannot mix."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def memory_option() -> dict[str, bool]:
    """Return diffusers' option for loading without a second copy in memory, where accelerate is installed."""
    return {"low_cpu_mem_usage": is_accelerate_available()}


def guarded(field: str, source: str, load: Callable[[], Any], is_quiet: bool = False) -> Any:
    """Call ``load`` without bars, and turn errors of diffusers, transformers and the hub into one line.

    Args:
        field: for the error line.
        source: what the field holds.
        load: does it.
        is_quiet: hide the remarks of the libraries.

    Raises:
        FieldError: it cannot be loaded, or the file lacks weights. The libraries initialise those, and only remark on
            it.
    """
    remarks = Remarks()
    try:
        with without_loading_bars(), remarks.held_back():
            loaded = load()
    except FieldError:
        raise
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = hub_reason(error) or f"cannot be loaded: {one_line(error)[:300]}"
        raise FieldError(field, source, reason) from error
    except RuntimeError as error:
        fault = remarks.fault()
        if fault is None and not str(error).startswith("Error(s) in loading state_dict"):
            raise
        raise FieldError(field, source, fault or f"cannot be loaded: {one_line(error)[:300]}") from error
    if fault := remarks.fault():
        raise FieldError(field, source, fault)
    if not is_quiet:
        remarks.repeat()
    return loaded


def check_whole(field: str, source: str, model: Any, where: str = "") -> None:
    """Refuse a model whose file lacked weights (diffusers leaves them empty), or whose weights are not finite.

    Raises:
        FieldError: names the first such weight.
    """
    for name, weight in model.named_parameters() if isinstance(model, torch.nn.Module) else ():
        if weight.is_meta:
            raise FieldError(field, source, f"its weights do not fit the model: {where}{name} is missing")
        if weight.dtype in FLOATING and weight.numel():
            low, high = torch.aminmax(weight.detach())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                raise FieldError(field, source, f"its weights are damaged: {where}{name} holds NaN or infinity")


def check_tokenizers(source: str, pipeline: Any) -> None:
    """Refuse a tokenizer that knows only its marks; transformers returns one where its files are missing.

    Raises:
        FieldError: names the tokenizer.
    """
    for name, part in pipeline.components.items():
        if name.startswith("tokenizer") and part is not None:
            check_vocabulary(part, "path", source, name)
