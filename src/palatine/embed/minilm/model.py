"""The model: token ids to unit vectors, in numpy.

The tokens of a batch stand in one matrix, one text after the other; nothing is padded. Only the
attention and the mean look at single texts.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np

from palatine.embed.base import EmbedderError
from palatine.embed.minilm.tokenizer import WordPiece
from palatine.embed.minilm.weights import Array, open_weights

NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
_HEADS, _HEAD_WIDTH = 12, 32
_BATCH_TOKENS = 1024
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


class MiniLM:
    """The embedder that needs nothing but numpy; its weights are shared with other processes."""

    name = NAME
    dimension = DIMENSION

    def __init__(self, cache: Path) -> None:
        """Opens the model.

        Args:
            cache: the folder for the file that holds the weights for all processes.

        Raises:
            EmbedderError: the packaged weights or vocabulary are missing or damaged.
        """
        self._tokenizer = tokenizer()
        self._weights = open_weights(cache)
        self._blas = _Blas()

    @property
    def remark(self) -> str:
        """Why the weights are not shared with other processes; else empty."""
        return self._weights.remark

    def embed(self, texts: Sequence[str]) -> Array:
        """The vectors of the texts, on one thread; see `Embedder.embed`."""
        ids = [self._tokenizer.encode(text) for text in texts]
        vectors = np.empty((len(ids), DIMENSION), np.float32)
        with self._blas.one_thread():
            for batch in batches(ids, max_tokens=_BATCH_TOKENS):
                vectors[batch] = _forward(self._weights.arrays, [ids[number] for number in batch])
        return vectors

    def close(self) -> None:
        """Does nothing: the memory goes with the object."""


def tokenizer() -> WordPiece:
    """The model's tokenizer.

    Raises:
        EmbedderError: the packaged vocabulary is missing or damaged.
    """
    try:
        content = VOCABULARY.read_bytes()
        if sha256(content).hexdigest() != VOCABULARY_SHA256:
            raise ValueError("its digest is wrong")
    except (OSError, ValueError) as error:
        raise EmbedderError(
            f"the model's vocabulary {VOCABULARY} cannot be used: {error}; install Palatine again"
        ) from error
    return WordPiece(content.decode().split("\n")[:-1])


def batches(ids: Sequence[Sequence[int]], *, max_tokens: int) -> Iterator[list[int]]:
    """Numbers of texts, the shortest first, as many as fit when padded to the longest of them."""
    batch: list[int] = []
    for number in sorted(range(len(ids)), key=lambda number: len(ids[number])):
        if batch and (len(batch) + 1) * len(ids[number]) > max_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _forward(weights: Mapping[str, Array], texts: Sequence[Sequence[int]]) -> Array:
    lengths = [len(ids) for ids in texts]
    x = token_vectors(weights, texts)
    for layer in range(len(weights["qkv"])):
        seen = _attention(_dense(x, weights, "qkv", layer), lengths)
        x += _dense(seen, weights, "out", layer)
        _norm(x, weights["attention_norm"][layer])
        wide = _dense(x, weights, "up", layer)
        _gelu(wide)
        x += _dense(wide, weights, "down", layer)
        _norm(x, weights["output_norm"][layer])
    return text_vectors(x, lengths)


def token_vectors(weights: Mapping[str, Array], texts: Sequence[Sequence[int]]) -> Array:
    """What the first layer reads: (tokens of all texts, 384)."""
    ids = np.concatenate([np.asarray(text) for text in texts])
    x: Array = weights["word"][ids] * weights["word_scale"][ids]
    x += weights["position"][np.concatenate([np.arange(len(text)) for text in texts])]
    _norm(x, weights["norm"])
    return x


def text_vectors(x: Array, lengths: Sequence[int]) -> Array:
    """The mean of each text's tokens, of unit length: so their sum does as well."""
    sums: Array = np.add.reduceat(x, [0, *accumulate(lengths[:-1])], axis=0)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    return sums


_JOIN_TOKENS = 160  # from here on, joining the blocks costs less than what whole matrices save


def _dense(x: Array, weights: Mapping[str, Array], name: str, layer: int) -> Array:
    blocks = weights[name][layer]
    count, inputs, width = blocks.shape
    y: Array
    if len(x) > _JOIN_TOKENS:
        y = x @ blocks.transpose(1, 0, 2).reshape(inputs, count * width)
    else:
        y = np.empty((len(x), count * width), np.float32)
        np.matmul(x, blocks, out=y.reshape(len(x), count, width).swapaxes(0, 1))
    y += weights[f"{name}_bias"][layer]
    return y


_SCORES = 65_536  # so many at once stay in the processor's cache


def _attention(qkv: Array, lengths: Sequence[int]) -> Array:
    """Each text's tokens looking at each other; texts of one length stand together."""
    seen = np.empty((len(qkv), DIMENSION), np.float32)
    start = 0
    for length, same in groupby(lengths):
        last = start + length * sum(1 for _ in same)
        step = length * max(1, _SCORES // (_HEADS * length**2))
        for first in range(start, last, step):
            rows = slice(first, min(first + step, last))
            _attend(
                qkv[rows].reshape(-1, length, 3, _HEADS, _HEAD_WIDTH).transpose(2, 0, 3, 1, 4),
                seen[rows].reshape(-1, length, _HEADS, _HEAD_WIDTH).swapaxes(1, 2),
            )
        start = last
    return seen


def _attend(qkv: Array, seen: Array) -> None:
    """Fills `seen`, (texts, heads, tokens, 32); `qkv` has one more axis in front."""
    heads = max(1, _SCORES // qkv.shape[3] ** 2)
    for first in range(0, _HEADS, heads):
        query, key, value = qkv[:, :, first : first + heads]
        scores = query @ key.swapaxes(2, 3)
        scores -= scores.max(3, keepdims=True)
        np.exp(scores, out=scores)
        part = seen[:, first : first + heads]
        np.matmul(scores, value, out=part)
        part /= scores.sum(3, keepdims=True)


def _norm(x: Array, weight_and_bias: Array) -> None:
    x -= x.mean(1, keepdims=True)
    variance = np.einsum("ij,ij->i", x, x) / np.float32(x.shape[1])
    x *= (1 / np.sqrt(variance + np.float32(1e-12)))[:, np.newaxis]
    x *= weight_and_bias[0]
    x += weight_and_bias[1]


# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: erfc(z) for z >= 0 is a
# polynomial in 1 / (1 + 0.3275911 z) times exp(-z^2), to 1.5e-7.
_ERFC_SLOPE = np.float32(0.3275911 / 2**0.5)
_HALF_ERFC = [
    np.float32(term / 2)
    for term in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
]
_GELU_ROWS = 32  # these and the work on them stay in the processor's cache


def _gelu(x: Array) -> None:
    """In place, x times the normal distribution at x: max(x, 0) - |x| erfc(|x| / sqrt 2) / 2."""
    for first in range(0, len(x), _GELU_ROWS):
        rows = x[first : first + _GELU_ROWS]
        size = np.abs(rows)
        t = size * _ERFC_SLOPE
        t += 1
        np.reciprocal(t, out=t)
        tail = t * _HALF_ERFC[0]
        for term in _HALF_ERFC[1:]:
            tail += term
            tail *= t
        tail *= size
        size *= size
        size *= np.float32(-0.5)
        np.exp(size, out=size)
        tail *= size
        np.maximum(rows, 0, out=rows)
        rows -= tail


class _Blas:
    """The threads of numpy's matrix multiplication.

    With fifty servers on a machine, each must not use all cores for each query. The environment
    variables for this count only when numpy is imported, and then for everything in the process;
    so OpenBLAS, which numpy's packages carry, is asked directly, and only while we work. Another
    BLAS keeps its own ways.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
        self._set = None
        for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
            if hasattr(library, f"{prefix}openblas_set_num_threads{suffix}"):
                self._set = getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
                self._get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
                self._usual = self._get()
                break

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Matrices are multiplied by the calling thread alone."""
        if self._set is None:
            yield
            return
        self._set(1)
        try:
            yield
        finally:
            self._set(self._usual)
