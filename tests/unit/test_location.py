import json
from pathlib import Path

import pytest

from palatine.store.location import Location, location_check, refusal

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/mountinfo").exists(), reason="the list of mounts is Linux's"
)


class Place:
    """A folder with a home in it, and a list of mounts that a test writes itself."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.home = self.root / "ann"
        self.home.mkdir()
        self.mounts: list[tuple[str, str]] = [("/", "ext4")]

    def mount(self, where: Path | str, kind: str) -> None:
        self.mounts.append((str(where), kind))

    def check(self, path: Path, **environment: str) -> Location:
        mountinfo = self.root / "mountinfo"
        lines = [
            f"{number} 1 0:{number} / {where} rw,relatime shared:1 master:1 - {kind} dev rw\n"
            for number, (where, kind) in enumerate(self.mounts, 20)
        ]
        mountinfo.write_text("".join(lines))
        return location_check(path, mountinfo=mountinfo, home=self.home, environment=environment)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_this_machines_own_list_of_mounts_can_be_read(tmp_path: Path) -> None:
    assert location_check(tmp_path, home=tmp_path).kind in {"local", "unknown", "network"}


@pytest.mark.parametrize(
    ("kind", "judgement"),
    [
        *((kind, "network") for kind in ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs")),
        *((kind, "network") for kind in ("fuse.sshfs", "fuse.rclone")),
        *((kind, "unknown") for kind in ("fuse", "fuse.portal", "fuseblk", "9p", "virtiofs")),
        *((kind, "unknown") for kind in ("drvfs", "vboxsf")),
        *((kind, "local") for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay")),
    ],
)
def test_the_type_of_the_mount_decides(place: Place, kind: str, judgement: str) -> None:
    place.mount(place.root / "mnt", kind)
    assert place.check(place.root / "mnt" / "not" / "yet" / "there") == Location(judgement, kind)
    assert place.check(place.root / "mnt") == Location(judgement, kind)
    assert place.check(place.root / "mnt2") == Location("local", "ext4")


def test_the_longest_mount_wins_in_any_order(place: Place) -> None:
    place.mount(place.root / "a" / "b", "xfs")
    place.mount(place.root / "a", "nfs4")
    assert place.check(place.root / "a" / "b" / "c").kind == "local"
    assert place.check(place.root / "a" / "c").kind == "network"


def test_of_two_mounts_at_one_place_the_later_one_counts(place: Place) -> None:
    place.mount(place.root / "a", "autofs")
    place.mount(place.root / "a", "nfs4")
    assert place.check(place.root / "a") == Location("network", "nfs4")


def test_mounts_with_blanks_and_letters_beyond_ascii_are_found(place: Place) -> None:
    place.mount(str(place.root / "tänk") + r"\040our\011own\134disk", "cifs")
    assert place.check(place.root / "tänk our\town\\disk" / "palace").kind == "network"
    assert place.check(place.root / "tänk").kind == "local"


def test_a_link_is_followed_to_where_it_leads(place: Place) -> None:
    place.mount(place.root / "nas", "nfs4")
    (place.home / "link").symlink_to(place.root / "nas")
    assert place.check(place.home / "link" / "palace").kind == "network"
    (place.root / "Dropbox").mkdir()
    (place.root / "Dropbox" / "out").symlink_to(place.home)
    assert place.check(place.root / "Dropbox" / "out" / "palace").kind == "local"


def test_a_link_to_itself_is_unknown(place: Place) -> None:
    (place.home / "loop").symlink_to(place.home / "loop")
    assert place.check(place.home / "loop").kind == "unknown"


@pytest.mark.parametrize("content", [None, "", "garbage\n\n1 2 3 - x\n"])
def test_a_list_of_mounts_that_says_nothing_is_unknown(place: Place, content: str | None) -> None:
    mountinfo = place.root / "other"
    if content is not None:
        mountinfo.write_text(content)
    found = location_check(place.home / "palace", mountinfo=mountinfo, home=place.home)
    assert found.kind == "unknown"
    found = location_check(place.home / "Dropbox", mountinfo=mountinfo, home=place.home)
    assert found == Location("synced", "Dropbox")


@pytest.mark.parametrize(
    "folder",
    [
        "Dropbox",
        "Dropbox (Personal)",
        "deep/er/OneDrive - Contoso/x",
        "Google Drive/x",
        "Nextcloud",
        "Box/x",
        "Sync",
        "Library/Mobile Documents/com~apple~CloudDocs",
        "Library/CloudStorage/GoogleDrive-ann@example.org/My Drive",
    ],
)
def test_a_synced_folder_is_known_by_a_whole_name(place: Place, folder: str) -> None:
    assert place.check(place.home / folder / "palace").kind == "synced"


@pytest.mark.parametrize(
    "folder",
    ["Sandbox", "Inbox", "MyDropbox", "OneDriveBackup", "code/Box", "code/Sync", "Library"],
)
def test_a_part_of_a_name_means_nothing(place: Place, folder: str) -> None:
    assert place.check(place.home / folder / "palace").kind == "local"


def test_dropboxs_own_settings_say_where_its_folders_are(place: Place) -> None:
    (place.home / ".dropbox").mkdir()
    info = place.home / ".dropbox" / "info.json"
    accounts = {"personal": {"path": str(place.root / "mine"), "host": 1}, "business": {"path": 3}}
    info.write_text(json.dumps(accounts))
    assert place.check(place.root / "mine" / "palace") == Location("synced", "Dropbox")
    assert place.check(place.root / "mine2" / "palace").kind == "local"
    for broken in ("[1]", "{", '{"personal": "x"}'):
        info.write_text(broken)
        assert place.check(place.root / "mine" / "palace").kind == "local"


def test_dropboxs_settings_are_found_through_the_environment(place: Place) -> None:
    (place.root / "roaming" / "Dropbox").mkdir(parents=True)
    info = place.root / "roaming" / "Dropbox" / "info.json"
    info.write_text(json.dumps({"business": {"path": str(place.root / "firm")}}))
    found = place.check(place.root / "firm" / "palace", APPDATA=str(place.root / "roaming"))
    assert found == Location("synced", "Dropbox")


@pytest.mark.parametrize("name", ["OneDrive", "OneDriveConsumer", "OneDriveCommercial"])
def test_the_environment_says_where_onedrive_is(place: Place, name: str) -> None:
    environment = {name: str(place.root / "cloud")}
    assert place.check(place.root / "cloud" / "x", **environment) == Location("synced", "OneDrive")
    assert place.check(place.root / "cloudy" / "x", **environment).kind == "local"


def test_a_synced_folder_on_a_network_is_a_network(place: Place) -> None:
    place.mount(place.root, "nfs4")
    assert place.check(place.home / "Dropbox").kind == "network"


@pytest.mark.parametrize("location", [Location("network", "nfs4"), Location("synced", "Dropbox")])
def test_a_refusal_names_the_place_the_reason_and_the_way_out(location: Location) -> None:
    message = refusal(Path("/mnt/nas/palace"), location)
    assert "/mnt/nas/palace" in message
    assert location.detail in message
    assert "local disk" in message
