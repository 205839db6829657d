"""Lays the packaged model out as Chroma's own embedding function expects to have downloaded it.

So a peer that embeds with Chroma can be measured where its download cannot be reached. It gets the
layers that Palatine runs in onnxruntime, which are no slower than those of the published file; what
it does around them (each text padded to 256 tokens, batches of 32) is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from palatine.embed.minilm.model import NAME, VOCABULARY, MiniLM
from palatine.embed.minilm.weights import Array
from palatine.embed.onnx import _STEPS, _attribute, _field, _node, _tensors, _value

TOKENS = 256
ALIKE = 0.999
_FLOAT, _INT32, _INT64 = 1, 6, 7
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_FRONT: tuple[tuple[str, str, str, dict[str, int | float]], ...] = (
    ("Gather", "words input_ids", "looked_up", {}),
    ("Add", "looked_up positions", "placed", {}),
    ("LayerNormalization", "placed norm shift", "x", {"epsilon": 1e-12}),
    ("ReduceSum", "attention_mask second", "counted", {"keepdims": 0}),
    ("Cast", "counted", "lengths", {"to": _INT32}),
)


def lay_out(home: Path, cache: Path) -> None:
    """Writes the model below a user's home; fails when its vectors are not those of the model."""
    folder = home / ".cache" / "chroma" / "onnx_models" / NAME / "onnx"
    folder.mkdir(parents=True)
    own = MiniLM(cache)
    (folder / "model.onnx").write_bytes(_model(own._weights.arrays))
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    (folder / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
    made = import_module("tokenizers.implementations").BertWordPieceTokenizer(str(VOCABULARY))
    made.save(str(folder / "tokenizer.json"))
    text = "Oolong is steeped at 90 degrees, and never with boiling water."
    made.enable_padding(length=TOKENS)
    seen = made.encode(text)
    read = {
        "input_ids": np.array([seen.ids], np.int64),
        "attention_mask": np.array([seen.attention_mask], np.int64),
        "token_type_ids": np.zeros((1, TOKENS), np.int64),
    }
    session = import_module("onnxruntime").InferenceSession(folder / "model.onnx")
    (states,) = session.run(None, read)
    mean = states[0][: sum(seen.attention_mask)].mean(0)
    likeness = float(mean @ own.embed([text])[0] / np.linalg.norm(mean))
    if likeness < ALIKE:
        raise RuntimeError(f"the model laid out for Chroma is another one: cosine {likeness:.3f}")


def _model(weights: Mapping[str, Array]) -> bytes:
    """A ModelProto with everything in it; see `palatine.embed.onnx`."""
    tensors = dict(_tensors(weights))
    tensors["words"] = weights["word"] * weights["word_scale"]
    tensors["positions"] = weights["position"][:TOKENS]
    tensors["norm"], tensors["shift"] = weights["norm"]
    layers = sum(name.startswith("qkv_bias") for name in tensors)
    fields = [_field(2, NAME), *(_field(11, _value(name, _INT64)) for name in _INPUTS)]
    fields += [_field(12, _value(f"x{layers}", _FLOAT))]
    for operation, reads, makes, settings in _FRONT:
        parts = [_field(1, name) for name in reads.split()]
        parts += [_field(2, makes), _field(4, operation)]
        parts += [_field(5, _attribute(name, value)) for name, value in settings.items()]
        fields.append(_field(1, b"".join(parts)))
    for layer in range(layers):
        names = {"lengths": "lengths", "x": f"x{layer}" if layer else "x", "next": f"x{layer + 1}"}
        for operation, reads, makes, settings in _STEPS:
            inputs = [names.get(name, f"{name}{layer}") for name in reads.split()]
            output = names.get(makes, f"{makes}{layer}")
            fields.append(_field(1, _node(operation, inputs, output, settings)))
    fields += [_field(5, _tensor(name, tensor, _FLOAT)) for name, tensor in tensors.items()]
    fields.append(_field(5, _tensor("second", np.array([1], np.int64), _INT64)))
    opsets = _field(1, "") + _field(2, 17), _field(1, "com.microsoft") + _field(2, 1)
    return b"".join([_field(1, 8), _field(7, b"".join(fields)), *(_field(8, o) for o in opsets)])


def _tensor(name: str, tensor: np.ndarray, kind: int) -> bytes:
    """A TensorProto: dims 1, data_type 2, name 8, raw_data 9."""
    dims = b"".join(_field(1, length) for length in tensor.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, tensor.tobytes())
