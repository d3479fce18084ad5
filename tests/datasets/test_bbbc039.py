import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest_data import DATA
from loopback import Server, folder_fixture, names, server_fixture, serving  # noqa: F401
from napari_ptsam.datasets import bbbc039
from napari_ptsam.errors import DownloadError

ORIGINAL = DATA / "bbbc039_original"


def test_download_tells_how_far_it_is_and_keeps_files(server: Server, folder: Path, capfd) -> None:
    told: list[bbbc039.DownloadProgress] = []
    assert not bbbc039.is_fetched()
    nuclei = bbbc039.fetch_nuclei(told.append)
    full = sum(map(len, server.content.values()))
    assert [(each.files, each.all_files, each.full_size) for each in told] == [
        (number, 4, full) for number in (1, 2, 3, 4)
    ]
    assert told[-1].size == full
    assert nuclei.images.shape == nuclei.instances.shape == (2, 40, 48)
    assert nuclei.images.dtype == nuclei.instances.dtype == np.uint16
    assert (nuclei.images[1] == 101).all()
    assert names(folder) == ["0.png", "0.tif", "1.png", "1.tif"]
    assert capfd.readouterr() == ("", "")


def test_masks_are_components_of_equal_value_without_debris(server: Server) -> None:
    instances = bbbc039.fetch_nuclei().instances[0]
    assert np.unique(instances).tolist() == [0, 1, 2, 3]
    assert len({instances[5, 5], instances[5, 15], instances[25, 5]}) == 3
    assert instances[31, 31] == 0
    diagonal = np.zeros((20, 20), np.uint8)
    diagonal[:10, :10] = diagonal[10:, 10:] = 1
    assert bbbc039._components(diagonal).max() == 2


def test_what_is_there_is_not_downloaded_again(server: Server, folder: Path) -> None:
    bbbc039.fetch_nuclei()
    server.asked.clear()
    told: list[bbbc039.DownloadProgress] = []
    assert bbbc039.is_fetched()
    bbbc039.fetch_nuclei(told.append)
    assert not server.asked and len(told) == 4
    (folder / "1.tif").write_bytes(b"damaged")
    assert not bbbc039.is_fetched()
    bbbc039.fetch_nuclei()
    assert server.asked == ["cell nuclei/images/1.tif"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("absent", r"127.0.0.1:.* does not give out 0.png \(it answers 404\)"),
        ("truncated", "127.0.0.1:.* cannot be reached, or broke off"),
        ("short", "sent a wrong file for 0.png of BBBC039"),
        ("changed", "sent a wrong file for 0.png of BBBC039"),
        ("longer", "sent a wrong file for 0.png of BBBC039"),
        ("silent", "127.0.0.1:.* cannot be reached, or broke off"),
    ],
)
def test_faults_of_the_server_are_told_and_leave_nothing_behind(
    server: Server, folder: Path, fault, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bbbc039, "TIMEOUT", 0.3)
    server.faults["cell nuclei/masks/0.png"] = fault
    with pytest.raises(DownloadError, match=message) as caught:
        bbbc039.fetch_nuclei()
    assert "\n" not in str(caught.value)
    assert names(folder) == ["0.tif"]
    server.hold.set()
    server.faults.clear()
    server.asked.clear()
    bbbc039.fetch_nuclei()  # goes on with what is missing
    assert "cell nuclei/images/0.tif" not in server.asked and len(server.asked) == 3


def test_offline_is_told(server: Server, folder: Path) -> None:
    with serving({}) as closed:
        url = closed.url
    with pytest.raises(DownloadError, match="Check the connection to the internet"):
        bbbc039.fetch_nuclei(base_url=url)
    assert names(folder) == []
    bbbc039.fetch_nuclei()
    bbbc039.fetch_nuclei(base_url=url)  # not needed any more


@pytest.mark.parametrize("url", ["no address", "ftp://127.0.0.1", "http://"])
def test_senseless_addresses_are_told(server: Server, url: str) -> None:
    with pytest.raises(DownloadError, match=f"no address.*{bbbc039.URL_VARIABLE}"):
        bbbc039.fetch_nuclei(base_url=url)


def test_cache_that_cannot_be_written_to_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=rf"kept in .*file.*; set {bbbc039.CACHE_VARIABLE}"):
        bbbc039.fetch_nuclei(cache=tmp_path / "file")

    def decline(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pooch.utils.os.makedirs", decline)  # root may write anywhere
    with pytest.raises(DownloadError, match=r"kept in .* \(permission denied\)"):
        bbbc039.fetch_nuclei()
    assert not server.asked


def test_full_disk_leaves_nothing_behind(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil.move", fill)
    with pytest.raises(DownloadError, match=r"kept in .* \(no space left on device\)"):
        bbbc039.fetch_nuclei()
    assert names(folder) == []


def test_download_can_be_cancelled_between_files(server: Server, folder: Path) -> None:
    fetching = bbbc039.fetching()
    next(fetching)
    fetching.close()
    assert names(folder) == ["0.tif"] and len(server.asked) == 1

    def cancel(fetched: bbbc039.DownloadProgress) -> None:
        if fetched.files == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bbbc039.fetch_nuclei(cancel)
    assert names(folder) == ["0.png", "0.tif"] and len(server.asked) == 2


def test_two_downloads_at_a_time_do_not_disturb_each_other(server: Server, folder: Path) -> None:
    found: list[bbbc039.Nuclei] = []
    threads = [
        threading.Thread(target=lambda: found.append(bbbc039.fetch_nuclei())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(names(folder)) == 4


def test_environment_names_server_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(bbbc039.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv(bbbc039.URL_VARIABLE, "")
    assert bbbc039.cache_folder().name == "napari-ptsam"
    assert bbbc039.default_url().startswith("https://raw.githubusercontent.com/DeepTrackAI/")
    monkeypatch.setenv(bbbc039.CACHE_VARIABLE, "~/somewhere")
    assert bbbc039.cache_folder() == Path.home() / "somewhere"


def test_real_files_are_what_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ORIGINAL.is_dir():
        pytest.skip(f"needs {ORIGINAL} (set PTSAM_DATA)")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = {file.path: (ORIGINAL / file.name).read_bytes() for file in bbbc039.remote_files()}
    assert len(content) == 40
    with serving(content) as server:
        nuclei = bbbc039.fetch_nuclei(base_url=server.url, cache=tmp_path)
    assert nuclei.images.shape == nuclei.instances.shape == (20, 520, 696)
    assert nuclei.images.dtype == nuclei.instances.dtype == np.uint16
    assert all(60 < len(np.unique(plane)) < 160 for plane in nuclei.instances)
    assert "CC0" in bbbc039.origin()
    known = {
        tifffile.imread(path).tobytes(): tifffile.imread(path.parents[1] / "masks" / path.name)
        for path in (DATA / "bbbc039_nuclei").glob("*/images/*.tif")
    }
    for image, found in zip(nuclei.images, nuclei.instances, strict=True):
        if (mask := known.get(image.tobytes())) is not None:
            pairs = np.unique(np.stack([found.ravel(), mask.ravel()]), axis=1)
            assert pairs.shape[1] == len(np.unique(mask)) == len(np.unique(found))
