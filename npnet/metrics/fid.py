"""FID by clean-fid's protocol (Parmar et al. 2022, "On aliased resizing").

    npnet fid FOLDER_A FOLDER_B weights=inception.safetensors

Pictures are resized to 299 x 299 channel by channel with PIL's antialiased bicubic filter **in floating point**, cut to
[0, 255] and not rounded. The features are the 2048 numbers of Inception-v3's last pool. The distance is that of two
normal distributions with the means and covariances of the features. Lower is better. FID depends on the number of
pictures, so compare sets of equal size. Published sets have 10,000 to 50,000 pictures; below 2048 the covariance does
not have full rank.

The weights are pytorch-fid's ``pt_inception-2015-12-05-6726825d.pth``, a file of plain tensors, as it is or as
safetensors. clean-fid runs the original graph as TorchScript; its features and these differ by rounding.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Images
from PIL.Image import Image

from npnet.arguments import asked
from npnet.description import Description
from npnet.ending import end
from npnet.errors import UserError
from npnet.metrics.runtime.inception import load_inception
from npnet.pictures.layout import find_files
from npnet.pictures.opener import open_picture, read_header, rotation_note
from npnet.work.devices import resolve_device

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
SIZE = 299
SUMMARY = "Compute the FID of two folders of pictures."
POSITIONAL = ("first", "second")


@dataclass(frozen=True)
class FIDSettings(Description):
    """The keys of ``fid``.

    Attributes:
        first: a folder of pictures, or another source that ``images=`` reads.
        second: the other one.
        weights: of Inception: safetensors, or pytorch-fid's .pth.
        device: what computes the features.
    """

    first: str
    second: str
    weights: str
    device: str = "cpu"


def frechet_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of two sets of features; C divided by N - 1.

    The trace of the root is the sum of the singular values of R_a R_b^T, where R^T R = C comes from a QR decomposition
    of the centred features: it is real and not negative for any rank, so that no small number must be added and no
    imaginary part dropped.

    Args:
        a: ``(N, D)``, at least two rows.
        b: ``(M, D)``.

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"two sets (N, D) of at least two features are needed, got {a.shape} and {b.shape}")
    root_a, root_b = (np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r")) for x in (a, b))
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * shared)


def resize(picture: Image) -> NDArray[np.float32]:
    """RGB picture -> ``(3, 299, 299)`` float32 in [0, 255], not rounded."""
    channels = [
        Images.fromarray(channel).resize((SIZE, SIZE), Images.Resampling.BICUBIC)
        for channel in np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(channel) for channel in channels]).clip(0, 255)


def features_of(
    pictures: Iterable[Image], network: Callable[[Any], Any], batch_size: int = 32, device: Any = "cpu"
) -> NDArray[np.float32]:
    """Return the features ``(N, 2048)`` of pictures, from ``inception.load_inception``'s network."""
    rows = []
    with torch.no_grad():
        for batch in _batches(pictures, batch_size):
            pixels = torch.from_numpy(np.stack([resize(picture) for picture in batch])).to(device)
            rows.append(network(pixels).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, 2048), np.float32)


def fid_of_folders(
    a: str | Path, b: str | Path, weights: str | Path, batch_size: int = 32, device: Any = "cpu"
) -> float:
    """Return the FID of two sets of pictures: folders, or whatever else ``images=`` reads, opened in the same way.

    Raises:
        UserError: a set or the weights are missing, or hold too little.
    """
    files = [_files(Path(folder)) for folder in (a, b)]
    rotated = sum(read_header(path, f"fid: {path}").is_rotated for paths in files for path in paths)
    if note := rotation_note(rotated):
        log.warning("fid: %s", note)
    network = load_inception(weights, device)
    pictures = [(open_picture(path, f"fid: {path}") for path in paths) for paths in files]
    sets = [features_of(one, network, batch_size, device) for one in pictures]
    return frechet_distance(*sets)


def _batches(pictures: Iterable[Image], size: int) -> Iterator[list[Image]]:
    batch: list[Image] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _files(source: Path) -> list[Path]:
    files = find_files(source, "fid")
    if len(files) < 2:
        raise UserError(f"fid={source}: at least two pictures are needed, got {len(files)}")
    return files


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``fid_of_folders``.
    """
    settings = asked(FIDSettings, arguments, "fid", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    device = resolve_device(settings.device)
    distance = fid_of_folders(settings.first, settings.second, settings.weights, device=device)
    print(f"FID {distance:.4f}")
    return 0


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
