"""The packaged model on onnxruntime: the same vectors, sooner, for bulk work.

onnxruntime reads a model as protobuf. Ours is a straight line of seven operations a layer, so its
few fields are written here, and it is handed the weights that numpy uses: no second file of weights
and no package for making such models is needed.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palatine.embed.base import EmbedderError
from palatine.embed.minilm.model import (
    DIMENSION,
    NAME,
    batches,
    text_vectors,
    token_vectors,
    tokenizer,
)
from palatine.embed.minilm.weights import Array, open_weights

_BATCH_TOKENS = 1024


class OnnxMiniLM:
    """Like `MiniLM`; needs the package onnxruntime, and 90 MB more in each process."""

    name = NAME
    dimension = DIMENSION

    def __init__(self, cache: Path, *, threads: int = 1) -> None:
        """Opens the model.

        Args:
            cache: as for `MiniLM`.
            threads: how many cores to use.

        Raises:
            EmbedderError: onnxruntime is not installed or refuses the model, or the packaged
                files are damaged.
        """
        self._tokenizer = tokenizer()
        self._weights = open_weights(cache)
        # onnxruntime reads the tensors where they are, so they stay as long as the session.
        self._tensors = dict(_tensors(self._weights.arrays))
        self._session = _session(self._tensors, threads)

    @property
    def remark(self) -> str:
        """Why the word vectors are not shared with other processes; else empty."""
        return self._weights.remark

    def embed(self, texts: Sequence[str]) -> Array:
        """The vectors of the texts; see `Embedder.embed`."""
        ids = [self._tokenizer.encode(text) for text in texts]
        vectors = np.empty((len(ids), DIMENSION), np.float32)
        for batch in batches(ids, max_tokens=_BATCH_TOKENS):
            vectors[batch] = self._forward([ids[number] for number in batch])
        return vectors

    def close(self) -> None:
        """Does nothing: the memory goes with the object."""

    def _forward(self, texts: Sequence[Sequence[int]]) -> Array:
        lengths = np.array([len(text) for text in texts], np.int32)
        real = np.arange(lengths.max()) < lengths[:, np.newaxis]
        padded = np.zeros((*real.shape, DIMENSION), np.float32)
        padded[real] = token_vectors(self._weights.arrays, texts)
        (read,) = self._session.run(None, {"x": padded, "lengths": lengths})
        return text_vectors(read[real], lengths.tolist())


def _session(tensors: Mapping[str, Array], threads: int) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EmbedderError(
            "onnxruntime is not installed; install palatine[fast], or use the embedder without it"
        ) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [runtime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    options.add_external_initializers(list(tensors), values)
    try:
        return runtime.InferenceSession(
            _model(tensors), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise EmbedderError(f"onnxruntime refuses the model: {error}; update it") from error


_STEPS: tuple[tuple[str, str, str, dict[str, int | float]], ...] = (
    ("Attention", "x qkv qkv_bias lengths", "seen", {"num_heads": 12, "scale": 1.0}),
    ("MatMul", "seen out", "told", {}),
    ("SkipLayerNormalization", "told x norm1 shift1 out_bias", "y", {"epsilon": 1e-12}),
    ("MatMul", "y up", "wide", {}),
    ("BiasGelu", "wide up_bias", "felt", {}),
    ("MatMul", "felt down", "fed", {}),
    ("SkipLayerNormalization", "fed y norm2 shift2 down_bias", "next", {"epsilon": 1e-12}),
)
"""A layer: operation, what it reads, what it makes, its settings."""


def _model(tensors: Mapping[str, Array]) -> bytes:
    """A ModelProto: ir_version 1, graph 7, opset_import 8 (domain 1, version 2)."""
    return b"".join(
        (
            _field(1, 8),
            _field(7, b"".join(_graph(tensors))),
            _field(8, _field(1, "") + _field(2, 17)),
            _field(8, _field(1, "com.microsoft") + _field(2, 1)),
        )
    )


def _graph(tensors: Mapping[str, Array]) -> Iterator[bytes]:
    """The fields of a GraphProto: node 1, name 2, initializer 5, input 11, output 12."""
    layers = sum(name.startswith("qkv_bias") for name in tensors)
    yield _field(2, NAME)
    yield _field(11, _value("x", _FLOAT)) + _field(11, _value("lengths", _INT32))
    yield _field(12, _value(f"x{layers}", _FLOAT))
    for layer in range(layers):
        names = {"lengths": "lengths", "x": f"x{layer}" if layer else "x", "next": f"x{layer + 1}"}
        for operation, reads, makes, settings in _STEPS:
            inputs = [names.get(name, f"{name}{layer}") for name in reads.split()]
            output = names.get(makes, f"{makes}{layer}")
            yield _field(1, _node(operation, inputs, output, settings))
    for name, tensor in tensors.items():
        yield _field(5, _tensor(name, tensor))


def _tensors(weights: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """What the layers read, as whole matrices, each name with its layer's number."""
    for layer in range(len(weights["qkv"])):
        for name in ("qkv", "out", "up", "down"):
            blocks = weights[name][layer]
            yield f"{name}{layer}", blocks.swapaxes(0, 1).reshape(blocks.shape[1], -1)
            yield f"{name}_bias{layer}", weights[f"{name}_bias"][layer]
        for number, name in enumerate(("attention_norm", "output_norm"), 1):
            yield f"norm{number}{layer}", weights[name][layer][0]
            yield f"shift{number}{layer}", weights[name][layer][1]


_FLOAT, _INT32 = 1, 6  # TensorProto.DataType


def _node(
    operation: str, inputs: Sequence[str], output: str, settings: Mapping[str, int | float]
) -> bytes:
    """A NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7."""
    parts = [_field(1, name) for name in inputs]
    parts += _field(2, output), _field(4, operation)
    parts += [_field(5, _attribute(name, value)) for name, value in settings.items()]
    if operation != "MatMul":
        parts.append(_field(7, "com.microsoft"))
    return b"".join(parts)


def _attribute(name: str, value: float) -> bytes:
    """An AttributeProto: name 1, f 2, i 3, type 20 (1 for f, 2 for i)."""
    whole = isinstance(value, int)
    return _field(1, name) + _field(3 if whole else 2, value) + _field(20, 2 if whole else 1)


def _value(name: str, kind: int) -> bytes:
    """A ValueInfoProto: name 1, type 2 (tensor_type 1 (elem_type 1)); any shape."""
    return _field(1, name) + _field(2, _field(1, _field(1, kind)))


def _tensor(name: str, tensor: Array) -> bytes:
    """A TensorProto: dims 1, data_type 2, name 8, external_data 13, data_location 14 (external).

    The file that it names does not exist: the session is handed the tensor itself.
    """
    entries = {"location": "memory", "offset": "0", "length": str(tensor.nbytes)}
    parts = [_field(1, length) for length in tensor.shape]
    parts += _field(2, _FLOAT), _field(8, name), _field(14, 1)
    parts += [_field(13, _field(1, key) + _field(2, value)) for key, value in entries.items()]
    return b"".join(parts)


def _field(number: int, value: float | str | bytes) -> bytes:
    """A protobuf field: its number and wire type, then a varint, a float or counted bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    septets = bytearray()
    while value > 127:
        septets.append(value & 127 | 128)
        value >>= 7
    return bytes((*septets, value))
