"""Where a palace may live: on a local disk, not on a network and not in a synced folder.

SQLite's write-ahead log needs memory that all processes share, so a palace on a network file
system breaks as soon as a second host opens it; a sync program copies files in the middle of a
transaction.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if sys.platform != "linux":
    import ctypes

_NETWORK = re.compile(
    r"nfs\d*|cifs|smb3|smbfs|ncpfs|afs|ceph|glusterfs|lustre|gpfs|beegfs"
    r"|fuse\.(sshfs|rclone|glusterfs|ceph|s3fs|gcsfuse)"
)
# Shared into a virtual machine or a container, or made by a program: it depends.
_UNCLEAR = re.compile(r"fuse.*|9p|virtiofs|drvfs|vboxsf|vmhgfs|prl_fs|autofs")

# Whole names of folders. "Box" and "Sync" are ordinary words: only directly in the home folder.
_PROVIDERS = re.compile(
    r"(?P<name>Dropbox|OneDrive|Google ?Drive|iCloud ?Drive|Nextcloud|ownCloud|MEGAsync"
    r"|pCloud ?Drive|Box Sync|SynologyDrive|Proton ?Drive|Yandex\.Disk)( - .+| \(.+\))?",
    re.NOFLAG if sys.platform == "linux" else re.IGNORECASE,
)
_PROVIDERS_AT_HOME = frozenset({"Box", "Sync", "MEGA"})
_ONEDRIVE = ("OneDrive", "OneDriveConsumer", "OneDriveCommercial")


@dataclass(frozen=True, slots=True)
class Location:
    """What is known about the place of a folder.

    Attributes:
        kind: `unknown` is not refused: shared folders of virtual machines, most of FUSE.
        detail: the file system's type, or the sync provider.
    """

    kind: Literal["local", "network", "synced", "unknown"]
    detail: str


def location_check(
    path: Path,
    *,
    mountinfo: Path = Path("/proc/self/mountinfo"),
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Location:
    """Judges the place that the path really leads to; the path need not exist yet.

    Args:
        path: the palace's folder.
        mountinfo: the list of mounts (Linux).
        home: the user's home folder; the process's own when not given.
        environment: the environment variables, for OneDrive and Dropbox on Windows.
    """
    try:
        real = path.resolve()
        home = (home or Path.home()).resolve()
    except (OSError, RuntimeError) as error:
        return Location("unknown", f"the path cannot be followed: {error}")
    mounted = _mounted(real, mountinfo)
    if mounted.kind == "network":
        return mounted
    provider = _provider(real, home, environment or {})
    return mounted if provider is None else Location("synced", provider)


def refusal(path: Path, location: Location) -> str:
    """The message for a palace that is not to be created at this place."""
    if location.kind == "synced":
        reason = f"{path} is synced by {location.detail}, which copies files while they are written"
        advice = "each device needs a palace of its own"
    else:
        reason = f"{path} is on a network file system ({location.detail})"
        advice = "all its processes must run on one host"
    return f"{reason}: a palace there would be damaged. Choose a folder on a local disk; {advice}."


def _mounted(real: Path, mountinfo: Path) -> Location:
    if sys.platform == "darwin":
        return _mounted_darwin(next(each for each in (real, *real.parents) if each.exists()))
    if sys.platform == "win32":
        return _mounted_windows(real)
    try:
        lines = os.fsdecode(mountinfo.read_bytes()).split("\n")
    except OSError as error:
        return Location("unknown", f"the list of mounts cannot be read: {error}")
    best, kind = -1, ""
    for mount, file_system in _mounts(lines):
        # The same place mounted twice: the later one is on top.
        if len(mount.parts) >= best and real.is_relative_to(mount):
            best, kind = len(mount.parts), file_system
    if not kind:
        return Location("unknown", "no mount was found for the path")
    if _NETWORK.fullmatch(kind):
        return Location("network", kind)
    return Location("unknown" if _UNCLEAR.fullmatch(kind) else "local", kind)


def _mounts(lines: list[str]) -> Iterator[tuple[Path, str]]:
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:
            mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            yield Path(mount), after.split(" ")[0]


if sys.platform == "darwin":  # Written after the manual, never run.

    def _mounted_darwin(path: Path) -> Location:
        local, size = 0x1000, 4096  # MNT_LOCAL; struct statfs is smaller than this
        buffer = ctypes.create_string_buffer(size)
        library = ctypes.CDLL(None)
        call = getattr(library, "statfs$INODE64", None) or library.statfs
        if call(bytes(path), buffer) != 0:
            return Location("unknown", "statfs failed")
        flags = int.from_bytes(buffer.raw[64:68], sys.byteorder)
        kind = buffer.raw[72:88].split(b"\0")[0].decode(errors="replace")
        return Location("local" if flags & local else "network", kind)


if sys.platform == "win32":  # Written after the manual, never run.

    def _mounted_windows(path: Path) -> Location:
        if path.drive.startswith("\\\\"):
            return Location("network", path.drive)
        kind = ctypes.windll.kernel32.GetDriveTypeW(path.anchor)
        if kind == 4:  # DRIVE_REMOTE
            return Location("network", path.drive)
        # Removable, fixed, RAM disk.
        return Location("local" if kind in (2, 3, 6) else "unknown", f"drive of type {kind}")


def _provider(real: Path, home: Path, environment: Mapping[str, str]) -> str | None:
    for root, provider in _known_roots(home, environment):
        if real.is_relative_to(root):
            return provider
    if real.is_relative_to(home) and _PROVIDERS_AT_HOME & set(real.relative_to(home).parts[:1]):
        return real.relative_to(home).parts[0]
    for part in real.parts:
        if match := _PROVIDERS.fullmatch(part):
            return match["name"]
    return None


def _known_roots(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    yield home / "Library" / "Mobile Documents", "iCloud Drive"
    yield home / "Library" / "CloudStorage", "a cloud storage provider"
    for name in _ONEDRIVE:
        if folder := environment.get(name):
            yield Path(folder).resolve(), "OneDrive"
    settings = [home / ".dropbox" / "info.json"]
    folders = [environment.get(name) for name in ("APPDATA", "LOCALAPPDATA")]
    settings += [Path(folder) / "Dropbox" / "info.json" for folder in folders if folder]
    for each in settings:
        for root in _dropbox_roots(each):
            yield root.resolve(), "Dropbox"


def _dropbox_roots(info: Path) -> Iterator[Path]:
    try:
        accounts = json.loads(info.read_bytes())
    except (OSError, ValueError):
        return
    for account in accounts.values() if isinstance(accounts, dict) else ():
        if isinstance(account, dict) and isinstance(account.get("path"), str):
            yield Path(account["path"])
