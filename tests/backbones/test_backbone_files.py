"""Backbones of the catalogue: downloads that go wrong, files that are put there by hand."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

import napari_ptsam as ptsam
from conftest_cli import complains, fails, run
from loopback import Server, names, serving
from napari_ptsam.backbones import downloads
from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue, entry_of, recommended
from napari_ptsam.backbones.checkpoints import embedded_checkpoint
from napari_ptsam.backbones.downloads import MIRROR_VARIABLE, Network, download
from napari_ptsam.backbones.files import FOLDER_VARIABLE, BackboneFiles
from napari_ptsam.backbones.loading import load_backbone
from napari_ptsam.errors import CheckpointError, DownloadError, InputError

BODY = bytes(range(256)) * 400


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    with serving({"weights/b.pth": BODY}) as server:
        server.ranges = True
        yield server


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "backbones"))
    return tmp_path / "backbones"


@pytest.fixture
def entry(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    """In the place of vit_b, small and on the loopback server."""
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    url = f"{server.url}/weights/b.pth"
    entry = CatalogueEntry(
        "vit_b", "vit_b", "SAM", "all", "MIT", "x", "b.pth", url, len(BODY), digest
    )
    monkeypatch.setitem(catalogue(), "vit_b", entry)
    return entry


def test_every_entry_can_be_shown_and_all_but_one_downloaded() -> None:
    for entry in catalogue().values():
        assert entry.good_for and entry.licence and entry.source.startswith("https://")
        assert entry.embedded == (entry.name == "vit_t")
        if not entry.embedded:
            kind, _, digits = entry.digest.partition(":")
            assert entry.url.startswith("https://")
            assert len(digits) == {"sha256": 64, "xxh128": 32}[kind]
    assert len({entry.file for entry in catalogue().values()}) == len(catalogue())


@pytest.mark.parametrize(
    ("memory", "name"), [(None, "vit_t"), (2.0, "vit_t"), (6.0, "vit_b"), (80.0, "vit_l")]
)
def test_recommendation_follows_the_gpu(memory: float | None, name: str) -> None:
    assert recommended(memory) == name


def test_downloaded_verified_and_known(entry: CatalogueEntry, folder: Path, server: Server) -> None:
    told: list[tuple[int, int]] = []
    path = download(entry, report=lambda *at: told.append(at))
    assert path.read_bytes() == BODY and path == folder / "b.pth"
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY))
    assert names(folder) == ["b.pth", "index.json"]
    assert BackboneFiles().checked(entry) == path
    download(entry)
    assert server.asked == ["weights/b.pth"]  # once


def test_hashes_as_micro_sam_publishes_them(entry: CatalogueEntry) -> None:
    digest = f"xxh128:{xxhash.xxh128(BODY).hexdigest()}"
    other = CatalogueEntry("l", "vit_b", "", "", "", "", "l.pt", entry.url, 0, digest)
    assert download(other).read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(
    entry: CatalogueEntry, folder: Path, server: Server, ranges: bool
) -> None:
    server.ranges = ranges

    def give_up(done: int, total: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "CHUNK", 1000)
        with pytest.raises(KeyboardInterrupt):
            download(entry, report=give_up)
    assert names(folder) == ["b.pth.part"]
    assert not BackboneFiles().exists_locally(entry)
    assert download(entry).read_bytes() == BODY
    assert server.asked_ranges == ["bytes=1000-"]


def test_a_server_that_breaks_off_again_and_again_is_asked_again(
    entry: CatalogueEntry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 1000)
    server.faults[""] = "truncated"  # each time it sends half of what is missing

    def mend(done: int, total: int) -> None:
        if done > 0.9 * len(BODY):
            server.faults.clear()

    assert download(entry, report=mend).read_bytes() == BODY
    assert len(server.asked) > 3


@pytest.mark.parametrize(
    ("fault", "message", "left"),
    [
        ("absent", r"does not give out vit_b \(it answers 404\)", []),
        ("broken", r"does not give out vit_b \(it answers 500\)", []),
        ("changed", "sent as vit_b is another file than the catalogue names", []),
        ("short", "sent as vit_b is another file than the catalogue names", []),
        ("longer", "sent as vit_b is another file than the catalogue names", []),
        ("silent", "cannot be reached, or broke off", []),
    ],
)
def test_what_goes_wrong_leaves_nothing_half_made(
    entry: CatalogueEntry, folder: Path, server: Server, fault, message: str, left: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    monkeypatch.setattr(downloads, "RETRIES", 1)
    server.faults[""] = fault
    with pytest.raises(DownloadError, match=message) as raised:
        download(entry)
    told = str(raised.value)
    assert entry.url in told and entry.digest in told and str(folder / "b.pth") in told
    assert names(folder) == left
    server.faults.clear()
    server.hold.set()
    assert download(entry).read_bytes() == BODY


def test_a_stale_part_is_thrown_away(entry: CatalogueEntry, folder: Path) -> None:
    folder.mkdir()
    part = BackboneFiles().part(entry)
    part.write_bytes(b"x" * 10)
    with pytest.raises(DownloadError, match="another file"):
        download(entry)
    assert names(folder) == []
    part.write_bytes(BODY)  # complete, but not verified
    assert download(entry).read_bytes() == BODY
    BackboneFiles().remove(entry)
    part.write_bytes(BODY + b"more")
    assert download(entry).read_bytes() == BODY


def test_mirror_and_proxy(
    entry: CatalogueEntry, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Network().address(entry) == entry.url
    assert Network("http://lab/").address(entry) == "http://lab/b.pth"
    monkeypatch.setenv(MIRROR_VARIABLE, f"{server.url}/weights")
    assert Network("http://lab/").address(entry) == f"{server.url}/weights/b.pth"
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setattr(downloads, "RETRIES", 1)
    with pytest.raises(DownloadError, match="the proxy cannot be reached"):
        download(entry, network=Network(proxy="http://127.0.0.1:9"))
    with serving({f"{server.url}/weights/b.pth": BODY}) as proxy:  # it is asked for whole addresses
        download(entry, network=Network(proxy=proxy.url))
        assert proxy.asked


def test_no_network_at_all_says_what_to_do_by_hand(
    entry: CatalogueEntry, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="napari-ptsam backbones download vit_b") as raised:
        load_backbone("vit_b")
    for part in (entry.url, f"{len(BODY):,} bytes", entry.digest, str(folder / "b.pth")):
        assert part in str(raised.value)
    monkeypatch.setattr(downloads, "RETRIES", 1)
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9 cannot be reached"):
        download(entry, network=Network(nowhere))
    with pytest.raises(DownloadError, match="no address to download from"):
        download(entry, network=Network("nonsense"))


def test_a_file_put_there_by_hand_just_works(folder: Path, monkeypatch) -> None:
    weights = embedded_checkpoint().read_bytes()
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    entry = CatalogueEntry(
        "vit_t_lm", "vit_t", "", "", "", "", "t.safetensors", "http://x", len(weights), digest
    )
    monkeypatch.setitem(catalogue(), "vit_t_lm", entry)
    folder.mkdir()
    (folder / "t.safetensors").write_bytes(weights)
    backbone = load_backbone("vit_t_lm", device="cpu")
    assert (backbone.name, backbone.weights) == ("vit_t", "vit_t_lm")
    assert (
        json.loads((folder / "index.json").read_text(encoding="utf-8"))["t.safetensors"][0]
        == digest
    )
    elsewhere = folder.parent / "t.safetensors"
    elsewhere.write_bytes(weights)
    assert load_backbone("vit_t", elsewhere, device="cpu").weights == "vit_t_lm"
    (folder / "t.safetensors").write_bytes(b"x" + weights[1:])
    with pytest.raises(CheckpointError, match="not the vit_t_lm that its makers published"):
        load_backbone("vit_t_lm", device="cpu")


def test_a_folder_that_cannot_be_written_to(entry: CatalogueEntry, folder: Path) -> None:
    folder.write_text("a file in its place", encoding="utf-8")
    with pytest.raises(DownloadError, match="Backbones cannot be kept in"):
        download(entry)


def test_no_room(entry: CatalogueEntry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = downloads.shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match="has room for 0 MB, and vit_b needs 0 MB"):
        download(entry)
    assert names(folder) == []


def test_two_at_once(entry: CatalogueEntry, folder: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(DownloadError, match="being downloaded by another program"):
            download(entry)

    assert download(entry, report=again).read_bytes() == BODY


def test_command_line(entry: CatalogueEntry, folder: Path, capsys) -> None:
    assert run("backbones") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in catalogue()) and "* vit_t" in listed
    assert run("backbones", "path", "vit_b") == 0
    assert capsys.readouterr().out == f"{folder / 'b.pth'}\n"
    fails(
        capsys,
        "vit_b is not on this machine; there is nothing to remove",
        "backbones",
        "remove",
        "vit_b",
    )
    assert run("backbones", "download", "vit_b") == 0
    assert run("backbones", "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in rows if row["here"]] == ["vit_t", "vit_b"]
    assert run("backbones", "verify") == 0
    assert "vit_b: as its makers published it" in capsys.readouterr().out
    (folder / "b.pth").write_bytes(b"damaged")
    complains(capsys, "not the vit_b that its makers published", "backbones", "verify")
    assert run("backbones", "remove", "vit_b") == 0
    assert names(folder) == ["index.json"]
    fails(capsys, "Unknown backbone 'vit_x'", "backbones", "download", "vit_x")
    fails(capsys, "vit_t is a part of napari-ptsam", "backbones", "remove", "vit_t")


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="Unknown backbone 'vit_x'; choose one of vit_t, vit_b"):
        entry_of("vit_x")
    with pytest.raises(ptsam.PtsamError):
        load_backbone("vit_x")
