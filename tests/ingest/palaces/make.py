"""Makes the palaces that the tests of importing read, with MemPalace itself.

    python tests/ingest/palaces/make.py MODEL_SAFETENSORS OUT.zip [SYNC_THRESHOLD]

Run it where mempalace can be imported (3.11.0 with chromadb 1.5.9 made queue.zip, and synced.zip
with a SYNC_THRESHOLD of 12). MODEL_SAFETENSORS are the published float32 weights of
all-MiniLM-L6-v2: what MemPalace's own runtime would download as ONNX. It runs with a home of its
own. old.zip is make_old.py's, by chromadb 0.6.3.
"""
# ruff: noqa: PLC0415 (those modules read the environment when they are imported)

import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[3]
LONG = " ".join(f"Step {n}: the kettle is filled, boiled and emptied again." for n in range(40))


def fill(folder: Path) -> None:
    from mempalace import mcp_server as server
    from mempalace.miner import mine

    def told(answer: dict) -> dict:
        assert answer.get("success", True), answer
        return answer

    said = {}
    for n in range(24):
        text = f"Note {n}: the {['mobile', 'web', 'data'][n % 3]} team wants release {n} by May."
        said[n] = told(server.tool_add_drawer("shop", "planning", text))["drawer_id"]
    why = told(server.tool_add_drawer("shop", "api", "We chose GraphQL over REST: one round trip."))
    told(server.tool_add_drawer("home", "tea", LONG, source_file="/notes/tea.md", added_by="ann"))
    told(server.tool_update_drawer(said[3], content="Note 3 was changed: no release before June."))
    told(server.tool_delete_drawer(said[4]))
    told(server.tool_diary_write("Ann", "Slept well; the kettle works.", topic="day"))
    told(server.tool_diary_write("Ann", "Slept well; the kettle works.", topic="day"))
    told(server.tool_kg_add("Max", "works at", "Acme", valid_from="2024-03-01"))
    told(server.tool_kg_supersede("Max", "works_at", "Acme", "Initech", at="2025-02-01"))
    told(
        server.tool_kg_add(
            "Max", "lives_in", "Rome", valid_from="2020-01-01", valid_to="2021-06-30"
        )
    )
    told(server.tool_kg_add("Shop API", "uses", "GraphQL", source_drawer_id=why["drawer_id"]))
    link = server.tool_create_tunnel("shop", "api", "home", "tea", label="both boil")
    assert "id" in link, link
    project = folder / "project"
    (project / "docs").mkdir(parents=True)
    (project / "mempalace.yaml").write_text("wing: garden\nrooms:\n  - name: docs\n")
    (project / "docs" / "beds.md").write_text(
        "# Beds\n\n" + "Carrots stand beside onions.\n\n" * 60
    )
    mine(str(project), str(folder / ".mempalace" / "palace"))


def main() -> None:
    model, out, *rest = sys.argv[1:]
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]
    folder = Path(tempfile.mkdtemp(prefix="palace-"))
    (folder / ".mempalace" / "palace").mkdir(parents=True)
    os.environ |= {"HOME": str(folder), "ANONYMIZED_TELEMETRY": "False", "TZ": "UTC"}
    os.environ["MEMPALACE_PALACE_PATH"] = str(folder / ".mempalace" / "palace")

    import build_weights
    import numpy as np
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2 as Chroma
    from mempalace.backends import chroma

    from palatine.embed.minilm.model import tokenizer

    tensors, words = build_weights.parse(Path(model).read_bytes()), tokenizer()

    def forward(_self: object, documents: list[str], batch_size: int = 32) -> object:
        return np.array([build_weights.forward(tensors, words.encode(d)) for d in documents], "f4")

    if rest:
        chroma._HNSW_WRITE_DEFAULTS |= {"hnsw:sync_threshold": int(rest[0]), "hnsw:batch_size": 5}
    with (
        patch.object(Chroma, "_forward", forward),
        patch.object(Chroma, "_download_model_if_not_exists", lambda _self: None),
    ):
        fill(folder)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted((folder / ".mempalace").rglob("*")):
            if path.is_file() and not path.name.endswith("-shm") and "locks" not in path.parts:
                archive.write(path, path.relative_to(folder / ".mempalace"))
    os.write(2, json.dumps({"out": out, "bytes": Path(out).stat().st_size}).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main()
