"""What a doctor says of a palace: each thing that can be wrong, and whether it is."""

from __future__ import annotations

from palatine.store.base import Store
from palatine.types import AREAS, Examined, Problem


def examine(store: Store) -> list[Examined]:
    """Looks at everything, in the order of `AREAS`."""
    with store.read() as tx:
        seq, pending = tx.state().seq, tx.count_pending()
    details = store.details()
    kind, detail = str(details["location"]), str(details["location_detail"])
    problems = store.check()
    if kind in ("network", "synced"):
        told = (
            f"{detail}: several computers, or a program that copies files, can damage the palace"
            " here; move it to a local folder"
        )
        problems.append(Problem(f"{kind} folder", told, area="folder"))
    remarks = {
        "SQLite": f"version {details['sqlite']}",
        "change feed": f"last change {seq}",
        "vectors": f"{pending} passages not embedded yet" if pending else "",
        "folder": f"{kind}, {detail}",
    }
    return [
        Examined(area, remarks.get(area, ""), tuple(p for p in problems if p.area == area))
        for area in AREAS
    ]
