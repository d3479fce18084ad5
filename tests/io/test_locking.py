"""One run at a time for a target."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_ptsam as ptsam
from napari_ptsam.io import locking
from napari_ptsam.io.locking import claim


def test_another_run_is_kept_out_until_it_is_let_go(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    with claim([target]), pytest.raises(ptsam.OutputError, match="Another run"), claim([target]):
        pass
    with claim([target]):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_removed_before_it_was_locked_is_no_lock(
    tmp_path: Path, monkeypatch
) -> None:
    """Another run lets go, and a third one begins, between our opening and our locking."""
    path, lock, others = tmp_path / "a.tif.partial.lock", locking._lock, []

    def late(handle: int) -> None:
        if not others:
            path.unlink()
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))
            lock(others[0])
        lock(handle)

    monkeypatch.setattr(locking, "_lock", late)
    with pytest.raises(ptsam.OutputError, match="Another run"), claim([tmp_path / "a.tif"]):
        pass
    assert path.exists()  # that of the third run
    os.close(others[0])


def test_what_comes_after_is_not_removed(tmp_path: Path, monkeypatch) -> None:
    """Between letting go and the end, another run begins."""
    path, close, others = tmp_path / "a.tif.partial.lock", os.close, []

    def then_another(handle: int) -> None:
        close(handle)
        if not others:
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))

    with claim([tmp_path / "a.tif"]):
        monkeypatch.setattr(locking.os, "close", then_another)
    monkeypatch.undo()
    assert path.exists()
    os.close(others[0])


def test_a_disk_without_locks_is_no_reason_not_to_work(tmp_path: Path, monkeypatch) -> None:
    def unknown(handle: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locking, "_lock", unknown)
    with claim([tmp_path / "a.tif"]), claim([tmp_path / "a.tif"]):
        pass
    with claim([tmp_path / "none" / "a.tif"]):
        pass


HAMMER = """
import sys, time, threading
from pathlib import Path
from napari_ptsam.errors import OutputError
from napari_ptsam.io.locking import claim

folder, end, done = Path(sys.argv[1]), time.monotonic() + 1.0, []

def work():
    while time.monotonic() < end:
        try:
            with claim([folder / "a.tif"]):
                (folder / "inside").touch(exist_ok=False)
                (folder / "inside").unlink()
                done.append(1)
        except OutputError:
            time.sleep(0)

threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(done))
"""


def test_many_at_once_never_meet(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(tmp_path)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )
        for _ in range(3)
    ]  # fmt: skip
    told = [run.communicate() for run in runs]
    assert [errors for _, errors in told] == [""] * 3
    assert sum(int(count) for count, _ in told) > 10
    assert not list(tmp_path.iterdir())
