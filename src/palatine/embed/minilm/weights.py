"""The weights: packed in the package, expanded once into a file that all processes share.

The package carries each matrix as int8 with a scale for every 64 numbers. A process needs float32
for the layers, 55 MB: it maps a cache file that holds them ready, so that the machine's memory
holds them once, however many processes there are. What the file must hold is known to the bit: a
wrong one is noticed and made again, and processes that make it at the same moment write the same
bytes to the same places.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import DTypeLike, NDArray

from palatine.embed.base import EmbedderError

PACKED = Path(__file__).with_name("weights.npz")
"""What the package carries: `expand` reads it, tools/build_weights.py makes it."""
SHA256 = "826ec0473023d98527b5f4f41ece3fc3ae67b70513420a40cbc148ce62f2372f"
"""The digest of the expanded weights; tested when they have been expanded."""
MARK = "f1dac41348e83b4c7bb6c5341de59ea7492d803203bcc13ecd0cf9d0c7e9e3c2"
"""What `mark` makes of them; tested by each process that opens the cache file."""

GROUP = 64
"""So many neighbouring inputs of one output share a scale."""
BLOCK = 32
"""A matrix is cut into blocks of so many outputs: (outputs / 32, inputs, 32).

With ten tokens OpenBLAS multiplies such blocks twice as fast as whole matrices: they are small
enough for its kernels that do not copy the matrix first, which is most of the work there.
"""

Array = NDArray[np.float32]
_WIDTH, _FEED, _LAYERS, _WORDS, _POSITIONS = 384, 1536, 6, 30_522, 256
_MATRICES = {
    "qkv": (_WIDTH, 3 * _WIDTH),
    "out": (_WIDTH, _WIDTH),
    "up": (_WIDTH, _FEED),
    "down": (_FEED, _WIDTH),
}
_LAYOUT: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
    **{
        name: (np.float32, (_LAYERS, outputs // BLOCK, inputs, BLOCK))
        for name, (inputs, outputs) in _MATRICES.items()
    },
    **{
        f"{name}_bias": (np.float32, (_LAYERS, outputs)) for name, (_, outputs) in _MATRICES.items()
    },
    "attention_norm": (np.float32, (_LAYERS, 2, _WIDTH)),
    "output_norm": (np.float32, (_LAYERS, 2, _WIDTH)),
    "norm": (np.float32, (2, _WIDTH)),
    "position": (np.float32, (_POSITIONS, _WIDTH)),
    "word_scale": (np.float32, (_WORDS, 1)),
    "word": (np.int8, (_WORDS, _WIDTH)),
}
SIZE_BYTES = sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in _LAYOUT.values())
"""The length of the expanded weights."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The model's arrays, read-only; one of a name in each layer stand in one array.

    Attributes:
        arrays: the matrices in blocks, biases, norms (weight and bias), position (the type's
            vector added), and the int8 word vectors with their scale. The queries are already
            divided by the square root of a head's width.
        remark: why they are in this process's own memory; empty when the file is shared.
    """

    arrays: Mapping[str, Array]
    remark: str


def open_weights(cache: Path, *, packed: Path = PACKED) -> Weights:
    """The weights, from the cache file when it can be had, else from this process's own memory.

    Args:
        cache: the folder for the cache file; made when it does not exist.
        packed: the packed weights.

    Raises:
        EmbedderError: the packed weights are missing or damaged.
    """
    path = cache / f"minilm-{SHA256[:12]}.weights"
    with contextlib.suppress(OSError, ValueError):
        return Weights(_arrays(_mapped(path)), "")
    expanded = expand(packed)
    if sha256(expanded).hexdigest() != SHA256:
        raise _damaged(packed, "its digest is wrong")
    try:
        _write(path, expanded)
        return Weights(_arrays(_mapped(path)), "")
    except (OSError, ValueError) as error:
        remark = (
            f"the model's weights ({SIZE_BYTES / 1e6:.0f} MB) are not shared with other processes:"
            f" the cache file {path} could not be made ({error}); make its folder writable"
        )
        return Weights(_arrays(expanded), remark)


def _mapped(path: Path) -> mmap:
    """The cache file in memory.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != SIZE_BYTES:
            raise ValueError("its size is wrong")
        mapped = mmap(file.fileno(), SIZE_BYTES, access=ACCESS_READ)
    if mark(mapped) != MARK:
        raise ValueError("its content is wrong")
    return mapped


def mark(expanded: memoryview | mmap) -> str:
    """A digest of the sums of all 4,096-byte pages.

    It notices every accident, takes 5 ms, and needs no special instructions; a SHA-256 of 55 MB
    takes 35 ms with them and 200 ms without, at the first search of each process.
    """
    words = np.frombuffer(expanded, np.uint64)
    whole = len(words) // 512 * 512
    sums = words[:whole].reshape(-1, 512).sum(1)
    return sha256(sums.tobytes() + words[whole:].tobytes()).hexdigest()


def _write(path: Path, expanded: memoryview) -> None:
    """Puts the cache file in its place, whole.

    All makers write to one temporary file: what they write is the same, so they cannot disturb
    each other, and what a killed one leaves is finished by the next. The first renames it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(expanded)
            file.truncate()
        with contextlib.suppress(FileNotFoundError):
            part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def expand(packed: Path) -> memoryview:
    """The content of the cache file, the same bytes on every machine.

    Raises:
        EmbedderError: the file is missing or damaged.
    """
    expanded = bytearray(SIZE_BYTES)
    try:
        with packed.open("rb") as file, np.load(file, allow_pickle=False) as found:
            for name, target in _arrays(expanded).items():
                if name in _MATRICES:
                    scale = found[f"{name}_scale"][:, :, :, np.newaxis]
                    shape = (*scale.shape[:3], GROUP, BLOCK)
                    codes, target = found[name].reshape(shape), target.reshape(shape)
                    np.multiply(codes, scale, out=target, dtype=np.float32)
                else:
                    target[...] = found[name]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError) as error:
        raise _damaged(packed, str(error)) from error
    return memoryview(expanded).toreadonly()


def _arrays(buffer: bytearray | memoryview | mmap) -> dict[str, Array]:
    arrays, start = {}, 0
    for name, (kind, shape) in _LAYOUT.items():
        flat = np.frombuffer(buffer, kind, prod(shape), start)
        arrays[name] = flat.reshape(shape)
        start += flat.nbytes
    return arrays


def _damaged(packed: Path, why: str) -> EmbedderError:
    return EmbedderError(
        f"the model's weights {packed} cannot be used: {why}; install Palatine again"
    )
