"""CIFAR-10 in two parts that share no image: JPEG images to train on, exact ones to judge by."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
from PIL import Image

from wardline.data import Examples

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
_SAME = 300.0  # mean squared difference of pixels in 0..255; JPEG alone makes 279 at most, another image 278 at least


def load(folder: Path) -> tuple[Examples, Examples]:
    """Rows to train on, and rows to judge by, which no training has seen.

    The 4,660 exact images are also among the 50,000 JPEG images. Each one's nearest JPEG image of its class is left
    out, which is a different one for every exact image, and so is every other JPEG image that is about as near: some
    images of CIFAR-10 occur twice.
    """
    table = pyarrow.parquet.read_table(folder / "train_jpeg.parquet")
    jpegs = np.stack([_pixels(data) for data in table["jpeg"].to_pylist()])
    labels = np.asarray(table["label"], dtype=np.int64)
    with np.load(folder / "train_exact.npz") as file:
        exact, truth = file["x"], file["y"].astype(np.int64)
    kept = ~_occur_in(jpegs, labels, exact, truth)
    return _examples(jpegs[kept], labels[kept]), _examples(exact, truth)


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _occur_in(
    jpegs: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    exact: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Which of the JPEG images are exact ones, coded."""
    found = np.zeros(len(jpegs), dtype=np.bool_)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        a = jpegs[rows].reshape(len(rows), -1).astype(np.float32)
        b = exact[truth == label].reshape(-1, a.shape[1]).astype(np.float32)
        apart = ((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T) / a.shape[1]
        nearest = apart.argmin(axis=0)
        if len(set(nearest.tolist())) != b.shape[0]:
            raise ValueError("two exact images have the same nearest JPEG image: these are other files than expected")
        found[rows[nearest]] = True
        found[rows[(apart < _SAME).any(axis=1)]] = True
    return found


def _examples(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Examples:
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float32) / 255
    return Examples(
        x=np.ascontiguousarray(rows),
        y=labels,
        unit=np.arange(len(rows)),
        features=tuple(f"pixel{index}" for index in range(rows.shape[1])),
        classes=CLASSES,
    )
