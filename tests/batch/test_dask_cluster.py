"""The same bytes from two worker processes as from one, even if one of them is killed."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import napari_ptsam as ptsam
from conftest_data import damage_page
from fakes import fake_prompt
from napari_ptsam.batch import dask_cluster
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import open_image
from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.segment import Segmenter

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="workers are killed in another way there"),
    pytest.mark.filterwarnings("ignore"),  # dask's own, also at its end
]


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


def written(folder: Path, planes: list[np.ndarray], **options) -> Path:
    """Write four small planes as a TIFF."""
    path = folder / "s.tif"
    stack = np.stack(planes[:4])[:, :64, :64].astype(np.float32)
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    return path


@pytest.fixture
def image(nuclei, tmp_path) -> Path:
    return written(tmp_path, nuclei[0])


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """With tokens that were not trained: what it finds does not matter here."""
    from napari_ptsam.backbones.loading import load_backbone

    backbone = load_backbone(device="cpu")
    return Segmenter(replace(fake_prompt(), signature=backbone.signature), backbone, "instances")


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def damaged(segmenter, nuclei, tmp_path_factory) -> tuple[Path, Path]:
    """An image, the last of whose four planes cannot be read, and the result of one process."""
    folder = tmp_path_factory.mktemp("damaged")
    path, serial = written(folder, nuclei[0], compression="zlib"), folder / "serial.ome.zarr"
    damage_page(path, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers: how many sum up decides the last digits
    try:
        parts = [FileResult(segmenter, serial)]
        list(segment_to_files(open_image(path, "ZYX"), parts, link=LinkSettings(), measure=True))
    finally:
        torch.set_num_threads(before)
    return path, serial


@pytest.mark.parametrize("seconds", [0.2, 2])
def test_two_workers_one_of_them_killed(cluster, damaged, segmenter, tmp_path, seconds) -> None:
    """Early, it holds what all tasks need; later, it segments."""
    image, serial = damaged
    planes, spread = open_image(image, "ZYX"), tmp_path / "spread.ome.zarr"
    victim = next(iter(cluster.workers.values())).process.pid
    timer = threading.Timer(seconds, os.kill, (victim, signal.SIGKILL))
    timer.start()
    told = list(
        dask_cluster.segment_on_cluster(
            planes, [FileResult(segmenter, spread)], cluster.scheduler_address,
            link=LinkSettings(), device="cpu", measure=True,
        )
    )  # fmt: skip
    timer.join()
    assert sorted(one.number for one in told) == list(range(4))
    assert ["plane 3" in one.problem for one in told if one.problem] == [True]
    assert contents(spread) == contents(serial)
    assert (tmp_path / "spread.csv").read_bytes() == (image.parent / "serial.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spread.csv", "spread.ome.zarr"]
    written_alone = sorted(p.name for p in image.parent.iterdir())
    assert written_alone == ["s.tif", "serial.csv", "serial.ome.zarr"]


def test_a_task_that_fails_for_good_is_named_and_can_be_done_later(
    cluster, image, segmenter, tmp_path
) -> None:
    planes, target = open_image(image, "ZYX"), tmp_path / "a.tif"
    moved, parts = image.with_name("moved.tif"), [FileResult(segmenter, target)]
    running = dask_cluster.segment_on_cluster(
        planes, parts, cluster.scheduler_address, device="cpu"
    )
    image.rename(moved)  # the workers do not find it
    with pytest.raises(ptsam.OutputError, match=r"s\.tif: 4 planes.*There is no file.*resume=True"):
        list(running)
    moved.rename(image)
    told = list(
        dask_cluster.segment_on_cluster(
            planes, parts, cluster.scheduler_address, resume=True, device="cpu"
        )
    )
    assert len(told) == 4 and target.exists()


def test_a_cluster_without_workers_is_told_of(caplog) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty,
        dask_cluster._client(empty.scheduler_address),
    ):
        assert "No worker has joined" in caplog.text


def test_what_can_be_told_before_any_work(segmenter, image, tmp_path, monkeypatch) -> None:
    parts = [FileResult(segmenter, tmp_path / "a.tif")]
    with pytest.raises(ptsam.InputError, match="no file that the workers could open"):
        dask_cluster.segment_on_cluster(
            Planes(np.zeros((2, 32, 32)), name="array"), parts, "tcp://127.0.0.1:1"
        )
    planes, begin = open_image(image), time.monotonic()
    monkeypatch.setattr(dask_cluster, "TIMEOUT", 2)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(ptsam.InputError, match="No scheduler answers"):
            list(dask_cluster.segment_on_cluster(planes, parts, address))
    assert time.monotonic() - begin < 10
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ptsam.InputError, match=r"pip install 'napari-ptsam\[distributed\]'"):
        list(dask_cluster.segment_on_cluster(planes, parts, "tcp://127.0.0.1:1"))
    assert [path.name for path in tmp_path.iterdir()] == ["s.tif"]
