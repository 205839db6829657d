"""The embedders: the packaged model against its published self, its cache, and bad endpoints."""

import base64
import json
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from palatine import embed
from palatine.embed.base import Embedder, EmbedderError
from palatine.embed.minilm.model import MiniLM, _Blas, _gelu, batches
from palatine.embed.minilm.weights import (
    MARK,
    PACKED,
    SHA256,
    SIZE_BYTES,
    expand,
    mark,
    open_weights,
)
from palatine.embed.remote import RemoteEmbedder
from palatine.errors import InputError

ROOT = Path(__file__).parents[2]
REFERENCE: dict[str, str] = json.loads(
    Path(__file__).with_name("minilm_reference.json").read_text("ascii")
)["vectors"]
TEXTS = list(REFERENCE)
VECTORS = np.stack(
    [np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32) for text in REFERENCE.values()]
)


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="palatine-test-") as folder:
        yield Path(folder) / "made" / "when needed"


@pytest.fixture
def empty() -> Iterator[Path]:
    """A folder for a cache of one test; 55 MB that pytest would keep for three runs."""
    with tempfile.TemporaryDirectory(prefix="palatine-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def minilm(cache: Path) -> MiniLM:
    return MiniLM(cache)


# The model


def test_vectors_are_those_of_the_published_model(minilm: MiniLM) -> None:
    vectors = minilm.embed(TEXTS)
    cosines = (vectors * VECTORS).sum(1)
    assert cosines.min() > 0.999
    assert cosines.mean() > 0.9997
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), minilm.dimension), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_text_has_the_same_vector_in_any_company(minilm: MiniLM) -> None:
    many = [TEXTS[number % len(TEXTS)] for number in range(len(TEXTS) * 5)]
    alone = np.concatenate([minilm.embed([text]) for text in TEXTS])
    together = minilm.embed(many)
    assert np.abs(together - np.tile(alone, (5, 1))).max() < 1e-5


def test_no_texts_have_no_vectors(minilm: MiniLM) -> None:
    assert minilm.embed([]).shape == (0, 384)


def test_a_text_that_no_tokenizer_likes_has_a_vector(minilm: MiniLM) -> None:
    hostile = ["\ud800", "\x00" * 1000, "\u0301" * 1000, "[SEP]" * 1000, "x" * 1_000_000]
    assert np.isfinite(minilm.embed(hostile)).all()


def test_batches_hold_every_text_once_and_no_more_tokens_than_allowed() -> None:
    lengths = [7, 256, 3, 100, 100, 256, 2, 90, 300]
    made = list(batches([[0] * length for length in lengths], max_tokens=256))
    assert sorted(number for batch in made for number in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 256


def test_gelu_is_exact_to_a_millionth() -> None:
    x = np.concatenate([np.linspace(-12, 12, 5_001), [0, -0.0, 1e-30, -1e4, 1e4]])
    expected = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x]
    seen = x.astype(np.float32).reshape(-1, 2)
    _gelu(seen)
    assert seen.ravel() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_several_threads_may_embed_at_once(minilm: MiniLM) -> None:
    texts = TEXTS[:6]
    expected, seen = minilm.embed(texts), {}
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        seen[number] = minilm.embed(texts)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 4
    assert all(np.abs(vectors - expected).max() < 1e-5 for vectors in seen.values())


def test_only_one_thread_multiplies_and_only_while_we_work() -> None:
    before = _Blas()
    if before._set is None:
        pytest.skip("numpy has a BLAS other than OpenBLAS here")
    before._set(2)
    blas = _Blas()
    with blas.one_thread():
        assert blas._get() == 1
    assert blas._get() == 2
    before._set(before._usual)


def test_importing_the_package_does_not_import_numpy() -> None:
    program = (
        "import sys, palatine.embed, palatine.embed.base, palatine.embed.minilm.tokenizer;"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


# The weights and their cache


def test_the_packaged_weights_are_the_pinned_ones() -> None:
    expanded = expand(PACKED)
    assert (sha256(expanded).hexdigest(), mark(expanded)) == (SHA256, MARK)


@pytest.mark.stress
@pytest.mark.network
def test_the_packaged_weights_can_be_built_again() -> None:
    command = [sys.executable, str(ROOT / "tools" / "build_weights.py"), "--check"]
    assert subprocess.run(command, check=False, timeout=600).returncode == 0


def file_in(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_the_cache_is_made_once_and_read_by_all(empty: Path) -> None:
    first = open_weights(empty)
    made = file_in(empty).stat()
    second = open_weights(empty)
    assert first.remark == second.remark == ""
    assert file_in(empty).stat() == made
    assert (made.st_size, made.st_mode & 0o777) == (SIZE_BYTES, 0o600)
    assert not second.arrays["qkv"].flags.writeable
    assert not second.arrays["qkv"].flags.owndata


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE_BYTES - 5_000_000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(SIZE_BYTES // 2)


def blank(path: Path) -> None:
    cut(path)
    with path.open("r+b") as file:
        file.truncate(SIZE_BYTES)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("damage", [flip, cut, blank, lengthen])
def test_a_damaged_cache_is_made_again(empty: Path, damage: Callable[[Path], None]) -> None:
    open_weights(empty)
    damage(file_in(empty))
    assert sha256(file_in(empty).read_bytes()).hexdigest() != SHA256
    assert open_weights(empty).remark == ""
    assert sha256(file_in(empty).read_bytes()).hexdigest() == SHA256


def test_what_a_killed_maker_left_is_finished_by_the_next(empty: Path) -> None:
    open_weights(empty)
    whole = file_in(empty)
    whole.rename(whole.with_suffix(".part"))
    with file_in(empty).open("r+b") as file:
        file.write(b"half" * 1000)
        file.seek(0, 2)
        file.write(b"too long")
    assert open_weights(empty).remark == ""
    assert sha256(file_in(empty).read_bytes()).hexdigest() == SHA256


def test_a_folder_that_cannot_be_written_means_private_memory_and_says_so(empty: Path) -> None:
    (empty / "file").write_text("no folder")
    model = MiniLM(empty / "file" / "cache")
    assert "not shared with other processes" in model.remark
    assert str(empty / "file") in model.remark
    assert (model.embed(TEXTS) * VECTORS).sum(1).min() > 0.999


CHILD = """
import sys
from pathlib import Path
from palatine.embed.minilm.model import MiniLM
if len(sys.argv) > 2:
    import resource, signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print("ready", flush=True)
sys.stdin.readline()
model = MiniLM(Path(sys.argv[1]))
print(repr(model.embed(["why graphql"]).tobytes().hex()), model.remark, flush=True)
"""


def child(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_full_disk_means_private_memory_and_leaves_nothing_behind(empty: Path) -> None:
    with child(str(empty), "1000000") as process:
        out, err = process.communicate("go\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "not shared with other processes" in out
    assert list(empty.iterdir()) == []


def test_processes_that_make_the_cache_at_once_all_get_it(empty: Path, minilm: MiniLM) -> None:
    processes = [child(str(empty / "new")) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    expected = minilm.embed(["why graphql"]).tobytes().hex()
    assert outs == [(f"{expected!r} \n", "")] * 4
    assert sha256(file_in(empty / "new").read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip", "half"])
def test_damaged_packed_weights_are_an_error_that_says_what_to_do(
    empty: Path, content: bytes | str | None
) -> None:
    packed = empty / "weights.npz"
    if content is not None:
        half = PACKED.read_bytes()[: PACKED.stat().st_size // 2]
        packed.write_bytes(half if isinstance(content, str) else content)
    with pytest.raises(EmbedderError, match="install Palatine again"):
        open_weights(empty / "cache", packed=packed)
    assert not (empty / "cache").exists()


def test_other_packed_weights_are_an_error_and_make_no_cache(empty: Path) -> None:
    with np.load(PACKED) as packed:
        arrays = dict(packed)
    arrays["norm"] = arrays["norm"] + np.float32(0.001)
    np.savez(empty / "weights.npz", **arrays)
    with pytest.raises(EmbedderError, match="its digest is wrong; install Palatine again"):
        open_weights(empty / "cache", packed=empty / "weights.npz")
    assert not (empty / "cache").exists()


@pytest.mark.parametrize("content", [None, b"", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n"])
def test_a_damaged_vocabulary_is_an_error_that_says_what_to_do(
    empty: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (empty / "vocabulary.txt").write_bytes(content)
    monkeypatch.setattr("palatine.embed.minilm.model.VOCABULARY", empty / "vocabulary.txt")
    with pytest.raises(EmbedderError, match="install Palatine again"):
        MiniLM(empty)


# onnxruntime


def test_onnxruntime_gives_the_same_vectors(cache: Path, minilm: MiniLM) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'fast' is not installed")
    fast = embed.open_local(cache, bulk_threads=1)
    assert type(fast).__name__ == "OnnxMiniLM"
    assert (fast.name, fast.dimension, fast.remark) == (minilm.name, minilm.dimension, "")
    assert np.abs(fast.embed(TEXTS * 3) - minilm.embed(TEXTS * 3)).max() < 1e-5
    assert fast.embed([]).shape == (0, 384)


def test_without_onnxruntime_bulk_work_runs_on_numpy(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("palatine.embed.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(embed.open_local(cache, bulk_threads=2), MiniLM)
    with pytest.raises(EmbedderError, match=r"palatine\[fast\]"):
        onnx.OnnxMiniLM(cache)


# Hashes


def test_hashes_are_the_same_everywhere_and_near_for_shared_words() -> None:
    embedder: Embedder = embed.open_hashing(dimension=64)
    vectors = embedder.embed(["the red house", "a RED house", "something else", "", "\ud800 !"])
    assert vectors.shape == (5, 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.flatnonzero(embed.open_hashing().embed(["graphql"])).tolist() == [GRAPHQL]


GRAPHQL = 14
"""Where the word stands among 384 places, on any machine."""


# Endpoints

Answer = tuple[int, bytes, dict[str, str]]


class Endpoint(ThreadingHTTPServer):
    """Answers each request with the next answer, the last one again and again."""

    daemon_threads = True

    def __init__(self, answers: Sequence[Answer | Callable[[list[str]], object]]) -> None:
        super().__init__(("127.0.0.1", 0), Replying)
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def handle_error(self, *_: object) -> None:
        """A client that gave up is what some tests want."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Replying(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        self.server.asked.append(asked | {"path": self.path})
        self.server.headers.append(dict(self.headers))
        answer = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        if callable(answer):
            answer = (200, json.dumps(answer(asked["input"])).encode(), {})
        status, body, headers = answer
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    running: list[Endpoint] = []

    def run(*answers: Answer | Callable[[list[str]], object]) -> Endpoint:
        server = Endpoint(answers)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


def counted(texts: list[str]) -> object:
    """Vectors (length, 1, 0), in the wrong order, as their index says."""
    entries = [{"index": n, "embedding": [len(text), 1, 0]} for n, text in enumerate(texts)]
    return {"data": entries[::-1]}


def opened(server: Endpoint, **given: Any) -> RemoteEmbedder:
    return RemoteEmbedder(server.url, "m", **{"dimension": 3, "sleep": lambda _: None} | given)


def direction(*numbers: float) -> NDArray[np.float32]:
    return (np.array(numbers) / np.linalg.norm(numbers)).astype(np.float32)


@pytest.mark.network
def test_an_endpoint_gives_vectors_in_order_and_in_batches(endpoint: Any) -> None:
    server = endpoint(counted)
    remote = embed.open_remote(server.url, "m", api_key="secret")
    assert (remote.name, remote.dimension) == ("remote:m", 3)
    many = opened(server, batch_texts=2).embed(["a", "bbb", "cc\ud800", "", "e"])
    assert many == pytest.approx(np.stack([direction(n, 1, 0) for n in (1, 3, 3, 1, 1)]))
    assert [asked["input"] for asked in server.asked[1:]] == [["a", "bbb"], ["cc?", " "], ["e"]]
    assert server.asked[0]["path"] == "/v1/embeddings"
    assert server.asked[0]["model"] == "m"
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.headers[1]
    assert opened(server).embed([]).shape == (0, 3)


def data(*embeddings: object) -> bytes:
    return json.dumps({"data": [{"embedding": each} for each in embeddings]}).encode()


@pytest.mark.network
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>no</html>", "no list of vectors: '<html>no</html>'"),
        (b"\xff\xfe", "no list of vectors"),
        (b"[" * 100_000, "no list of vectors"),
        (b"[]", "no list of vectors"),
        (b'{"error": "model not found"}', "model not found"),
        (b'{"data": null}', "no list of vectors"),
        (data("text"), "no list of vectors"),
        (data([1, None, 2]), "no direction"),
        (data([1, [2], 3]), "no list of vectors"),
        (data([10**400, 1, 1]), "no list of vectors"),
        (b'{"data": [{"index": 7, "embedding": [1, 2, 3]}]}', "no list of vectors"),
        (data([1, 2, 3], [1, 2, 3]), "2 vectors for 1 texts"),
        (b'{"data": []}', "0 vectors for 1 texts"),
        (data([1, 2]), "vectors of 2 numbers, not 3"),
        (data([]), "no direction"),
        (data([0, 0, 0]), "no direction"),
        (data([1, float("nan"), 0]), "no direction"),
        (data([1, float("inf"), 0]), "no direction"),
        (data([1e300, 1e300, 0]), "no direction"),
        (data([[1, 2, 3]]), "no direction"),
    ],
)
def test_an_endpoint_that_lies_is_an_error(endpoint: Any, body: bytes, message: str) -> None:
    server = endpoint((200, body, {}))
    with pytest.raises(EmbedderError) as caught:
        opened(server).embed(["x"])
    assert message in str(caught.value)
    assert server.url in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.network
@pytest.mark.parametrize(("status", "asked"), [(400, 1), (401, 1), (404, 1), (429, 3), (503, 3)])
def test_passing_refusals_are_asked_again_and_others_are_not(
    endpoint: Any, status: int, asked: int
) -> None:
    server = endpoint((status, b"because of secret", {}))
    with pytest.raises(EmbedderError, match=rf"HTTP {status} .*: because of \*\*\*"):
        opened(server, api_key="secret").embed(["x"])
    assert len(server.asked) == asked


@pytest.mark.network
def test_a_refusal_that_passes_costs_the_wait_that_was_asked_for(endpoint: Any) -> None:
    slept: list[float] = []
    server = endpoint((429, b"", {"Retry-After": "7"}), (503, b"", {"Retry-After": "900"}), counted)
    assert opened(server, sleep=slept.append).embed(["x"]) == pytest.approx(
        direction(1, 1, 0)[np.newaxis]
    )
    assert slept == [7, 10]


@pytest.mark.network
def test_a_redirect_is_not_followed_with_the_key(endpoint: Any) -> None:
    other = endpoint(counted)
    server = endpoint((302, b"", {"Location": other.url + "/embeddings"}))
    with pytest.raises(EmbedderError, match=r"HTTP 302 .* final URL"):
        opened(server, api_key="secret").embed(["x"])
    assert other.asked == []


@pytest.mark.network
def test_an_endpoint_that_breaks_off_or_is_not_there_is_an_error(endpoint: Any) -> None:
    server = endpoint((200, b"{", {"Content-Length": "1000"}))
    with pytest.raises(EmbedderError, match=r"attempts: 3\).*is it running"):
        opened(server, timeout_seconds=0.2).embed(["x"])
    assert len(server.asked) == 3
    gone = Endpoint([])
    gone.server_close()
    with pytest.raises(EmbedderError, match=r"attempts: 2\).*is it running"):
        opened(gone, attempts=2).embed(["x"])


@pytest.mark.network
def test_an_endpoint_that_never_answers_is_an_error(endpoint: Any) -> None:
    answering = threading.Event()
    server = endpoint(lambda texts: answering.wait(60) and counted(texts))
    try:
        with pytest.raises(EmbedderError, match="timed out"):
            opened(server, timeout_seconds=0.1, attempts=1).embed(["x"])
    finally:
        answering.set()


@pytest.mark.network
def test_a_reply_that_trickles_in_is_not_waited_for_longer_than_allowed(
    endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 10_000, 20))
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("palatine.embed.endpoint.time", clock)
    server = endpoint(counted)
    assert opened(server, timeout_seconds=60).embed(["x"]).shape == (1, 3)
    with pytest.raises(EmbedderError, match="no whole reply within 10 s"):
        opened(server, timeout_seconds=10, attempts=1).embed(["x"])


@pytest.mark.parametrize(
    ("url", "model", "key"),
    [
        ("file:///etc/passwd", "m", ""),
        ("localhost:11434", "m", ""),
        ("http://", "m", ""),
        ("http://[", "m", ""),
        ("http://host:port/v1", "m", ""),
        ("https://me:secret@host/v1", "m", ""),
        ("http://host/v1", "", ""),
        ("http://host/v1", "m", "secret\r\nX: y"),
        ("http://host/v1", "m", "secr\xe9t"),
    ],
)
def test_what_no_endpoint_can_be_asked_with_is_refused(url: str, model: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        RemoteEmbedder(url, model, api_key=key, dimension=3)
    assert "secr" not in str(caught.value)
