"""Images by class: a folder of files, or arrays of an .npz or .safetensors file; as uint8 pixels of one size.

Everything is bounded before it is decoded: files, bytes, pixels; arrays are never unpickled.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.data import open_data
from engine.files.opening import read_small
from engine.files.reading import Reader
from engine.files.text import printable
from engine.progress import Progress, Silent

MAX_IMAGES = 100_000
MAX_FILE = 32 << 20
MAX_PIXELS = 50_000_000
MAX_ARRAYS = 1 << 30
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_SPLITS = {"val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test", "train": "train",
           "training": "train"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images and their classes, not decoded yet if they are files.

    Attributes:
        path: Folder or file.
        labels: Names of the classes.
        classes: (N,) class of each image.
        splits: (N,) "train", "val" or "test", or "" where the data do not say.
        files: The image files, or empty.
        arrays: (N, C, H, W) uint8 pixels, or None.
    """

    path: Path
    labels: tuple[str, ...]
    classes: NDArray[np.int64]
    splits: tuple[str, ...]
    files: tuple[Path, ...] = ()
    arrays: NDArray[np.uint8] | None = None

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.classes)

    def sizes(self, first: int = 10) -> dict[str, int]:
        """How often each size "28×28" occurs among the first images.

        Raises:
            EvalProblem: if one of them is no image.
        """
        if self.arrays is not None:
            return {f"{self.arrays.shape[3]}×{self.arrays.shape[2]}": self.count}
        shapes = [_opened(file).size for file in self.files[:first]]
        return dict(Counter(f"{w}×{h}" for w, h in shapes))


def split_word(name: str) -> str:
    """ "val", "test" or "train" for the usual names of splits, else ""."""
    return _SPLITS.get(name.strip().lower(), "")


def read_folder(folder: Path, progress: Progress | None = None) -> Pictures:
    """A folder of folders by class, perhaps inside folders train, val and test; links are not followed.

    Raises:
        EvalProblem: if it holds no images by class, or too many.
    """
    progress = progress or Silent()
    inner = _folders(folder)
    parts = {name: split_word(name) for name in inner}
    is_split = bool(inner) and all(parts.values())
    roots = [(folder / name, parts[name]) for name in inner] if is_split else [(folder, "")]
    found: list[tuple[str, Path, str]] = []
    for root, split in roots:
        for label in _folders(root):
            progress.check()
            found += [(label, file, split) for file in _images(root / label)]
            if len(found) > MAX_IMAGES:
                raise EvalProblem(f"The folder has more than {MAX_IMAGES:,} images.", where=printable(folder, 400),
                                  hint="A few thousand are enough for a score.")  # fmt: skip
    labels = tuple(sorted({label for label, *_ in found}))
    if len(labels) < 2:
        raise EvalProblem("The folder does not hold images by class.", where=printable(folder, 400),
                          hint="Put the images of each class into a folder of its own: cats/1.png.")  # fmt: skip
    index = {label: at for at, label in enumerate(labels)}
    classes = np.array([index[label] for label, *_ in found], np.int64)
    return Pictures(folder, labels, classes, tuple(s for *_, s in found), tuple(f for _, f, _ in found))


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    except OSError as error:
        raise EvalProblem(f"The folder cannot be read: {error.strerror}.", where=printable(folder, 400),
                          hint="Check that it exists and that you may read it.") from error  # fmt: skip


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file(follow_symlinks=False))
    return [folder / name for name in names if name.lower().endswith(SUFFIXES)]


def _opened(path: Path) -> Any:
    """An image whose header was read and found harmless; its pixels are not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    where, hint = printable(path, 400), "Remove the file, or get it again."
    try:
        image = Image.open(io.BytesIO(read_small(path, MAX_FILE)), formats=_FORMATS)
    except FileProblem as problem:
        raise EvalProblem(f"The image cannot be read: {problem.message}", where=where, hint=hint) from problem
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise EvalProblem("The file is no image that can be read.", where=where, hint=hint) from error
    if image.width * image.height > MAX_PIXELS or 0 in image.size:
        raise EvalProblem(f"The image has {image.width:,} × {image.height:,} pixels.", where=where, hint=hint)
    return image


def decode(path: Path, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """(C, H, W) pixels of an image file, scaled (bicubic, shorter edge) and cut from the middle.

    Args:
        path: The file.
        size: Height and width.
        channels: 1 for grey, 3 for colours.

    Raises:
        EvalProblem: if it is no image, damaged, or too large.
    """
    from PIL import Image

    image = _opened(path)
    try:
        image = image.convert("L" if channels == 1 else "RGB")
        height, width = size
        factor = max(height / image.height, width / image.width)
        scaled = max(width, round(image.width * factor)), max(height, round(image.height * factor))
        if scaled[0] * scaled[1] > MAX_PIXELS:
            raise ValueError("it is too long and thin")
        image = image.resize(scaled, Image.Resampling.BICUBIC) if scaled != image.size else image
        left, top = (image.width - width) // 2, (image.height - height) // 2
        pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.uint8)
    except (OSError, ValueError, SyntaxError, MemoryError, zlib.error) as error:
        raise EvalProblem(f"The image is damaged: {printable(error, 120)}.", where=printable(path, 400),
                          hint="Remove the file, or get it again.") from error  # fmt: skip
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_arrays(path: Path, images: str, labels: str, progress: Progress | None = None) -> Pictures:
    """Images and classes of an .npz or .safetensors file.

    Args:
        path: The file.
        images: Name of the array (N, H, W), (N, C, H, W) or (N, H, W, C); with "{split}" in it, several.
        labels: Name of the array of classes (N,); "{split}" as in `images`.
        progress: Asked between arrays.

    Raises:
        EvalProblem: if the arrays are not there, too large, or do not fit together.
    """
    progress, names = progress or Silent(), array_names(path)
    splits = [s for s in _SPLITS if images.replace("{split}", s) in names] if "{split}" in images else [""]
    parts = []
    for split in splits:
        progress.check()
        pixels = _array(path, images.replace("{split}", split))
        classes = _array(path, labels.replace("{split}", split))
        parts.append((_pixels(pixels, path), _classes(classes, len(pixels), path), _SPLITS.get(split, "")))
    if not parts or len({p.shape[1:] for p, *_ in parts}) > 1:
        raise _bad(path, "its splits are missing or of different sizes")
    classes = np.concatenate([c for _, c, _ in parts])
    count = int(classes.max()) + 1
    if count < 2 or count > 10_000:
        raise _bad(path, f"{printable(labels, 80)} goes up to {count - 1}")
    made = Pictures(path, tuple(map(str, range(count))), classes, tuple(s for p, _, s in parts for _ in range(len(p))))
    return replace(made, arrays=np.concatenate([p for p, *_ in parts]))


def array_names(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of an .npz or .safetensors file, from their headers.

    Raises:
        EvalProblem: if it is damaged, or holds pickled objects.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            return {name: info.shape for name, info in open_data(path).tensors.items()}
        found = {}
        with zipfile.ZipFile(io.BytesIO(read_small(path, MAX_ARRAYS))) as archive:
            for entry in archive.infolist()[:1000]:
                with archive.open(entry) as file:
                    shape, _, dtype = _npy_header(file)
                if dtype.hasobject:
                    raise ValueError("it holds Python objects, which are never read")
                found[entry.filename.removesuffix(".npy")] = shape
        return found
    except FileProblem as problem:
        raise EvalProblem(f"The file cannot be read: {problem.message}", where=printable(path, 400),
                          hint="Get it again.") from problem  # fmt: skip
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise _bad(path, printable(error, 120)) from error


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, order, dtype = read(file, max_header_size=10_000)
    return tuple(map(int, shape)), bool(order), dtype


def _array(path: Path, name: str) -> NDArray[Any]:
    names = array_names(path)
    if name not in names:
        raise EvalProblem(f"There is no array {printable(name, 80)!r}.", where=printable(path, 400),
                          hint=f"There are: {', '.join(printable(n, 40) for n in list(names)[:20])}.")  # fmt: skip
    count = int(np.prod(names[name], dtype=np.float64))
    if not 0 < count <= MAX_ARRAYS // 8:
        raise _bad(path, f"{printable(name, 80)} has {count:,} values")
    if path.suffix.lower() == ".safetensors":
        with Reader(open_data(path)) as reader:
            info = reader.checkpoint.tensors[name]
            if info.is_float:
                return reader.read_float32(info).reshape(info.shape)
            kinds = {"U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
            if info.dtype not in kinds:
                raise _bad(path, f"{printable(name, 80)} is {info.dtype}")
            return reader.read(info).view(kinds[info.dtype]).reshape(info.shape)
    try:
        with np.load(io.BytesIO(read_small(path, MAX_ARRAYS)), allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise _bad(path, printable(error, 120)) from error


def _pixels(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """(N, C, H, W) uint8 from what was stored; floats from 0 to 1 are scaled to 255."""
    if values.ndim not in (3, 4) or 0 in values.shape or len(values) > MAX_IMAGES:
        raise _bad(path, f"the images have shape {list(values.shape)}")
    if values.dtype != np.uint8:
        top = 1.0 if values.dtype.kind == "f" and values.max() <= 1 else 255.0
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise _bad(path, "pixels must be from 0 to 255, or from 0 to 1")
        values = np.rint(values * (255.0 / top)).astype(np.uint8)
    if values.ndim == 3:
        return values[:, None]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if values.shape[3] in (1, 3) else values


def _classes(values: NDArray[Any], count: int, path: Path) -> NDArray[np.int64]:
    if values.shape != (count,) or values.dtype.kind not in "iu" or values.min() < 0:
        raise _bad(path, f"the labels have shape {list(values.shape)} for {count} images, or are no whole numbers")
    return values.astype(np.int64)


def _bad(path: Path, what: str) -> EvalProblem:
    return EvalProblem(f"The data file cannot be used: {what}.", where=printable(path, 400),
                       hint="Correct it, or choose another file.")  # fmt: skip
