"""Makes old.zip, a collection as an old ChromaDB keeps it: `make_old.py OUT.zip` with 0.6.3."""

import random
import sys
import tempfile
import zipfile
from pathlib import Path

import chromadb

folder = Path(tempfile.mkdtemp(prefix="palace-"))
client = chromadb.PersistentClient(
    str(folder), settings=chromadb.Settings(anonymized_telemetry=False)
)
drawers = client.create_collection(
    "mempalace_drawers",
    metadata={"hnsw:space": "cosine", "hnsw:sync_threshold": 10, "hnsw:batch_size": 5},
    embedding_function=None,
)
chance = random.Random(1)
for n in range(24):
    known = {"wing": "a", "room": "b", "filed_at": "2025-01-01T00:00:00", "n": n, "f": n / 2}
    drawers.upsert(
        ids=[f"drawer_a_b_{n:03}"],
        documents=[f"old note {n}"],
        embeddings=[[chance.uniform(-1, 1) for _ in range(16)]],
        metadatas=[known],
    )
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_LZMA) as archive:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            archive.write(path, path.relative_to(folder))
