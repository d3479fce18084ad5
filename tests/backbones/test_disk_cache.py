"""Embeddings that outlast the process."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from napari_ptsam.backbones import disk_cache
from napari_ptsam.backbones.disk_cache import DiskCache, users_disk_cache
from napari_ptsam.backbones.embedding_cache import EmbeddingCache, sparing_disk, with_cache

SHAPE = (64, 32)
FILE = 2 * 64 * 32 + disk_cache.HEADER.size
"""Bytes of a file."""


def embedding(value: float = 0.5) -> torch.Tensor:
    return torch.full(SHAPE, value).half()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def cache(tmp_path) -> DiskCache:
    return DiskCache(tmp_path / "embeddings", 10 * FILE)


def test_what_was_kept_comes_back_exactly(cache) -> None:
    assert cache.get(b"a") is None and cache.size == 0
    kept = torch.randn(SHAPE).half()
    cache.put(b"a", kept)
    found = DiskCache(cache.folder, cache.limit).get(b"a")
    assert found is not None and torch.equal(found, kept) and found.dtype == torch.float16
    assert cache.get(b"b") is None and cache.size == FILE
    cache.put(b"c", kept.float())  # float32 is for comparisons; it is not kept
    assert names(cache.folder) == ["61.embedding"]
    cache.clear()
    assert names(cache.folder) == [] and cache.get(b"a") is None


def test_those_not_asked_for_longest_go_first(cache) -> None:
    for number in range(10):
        cache.put(bytes([number]), embedding(number))
        os.utime(cache._path(bytes([number])), (number, number))
    assert cache.get(b"\0") is not None  # asked for now, though it is the oldest
    cache.put(b"new", embedding())
    assert cache.size <= cache.limit
    assert cache.get(b"\0") is not None and cache.get(b"new") is not None
    assert cache.get(b"\1") is None and cache.get(b"\t") is not None


def test_more_than_the_limit_is_not_kept(tmp_path) -> None:
    small = DiskCache(tmp_path / "e", FILE - 1)
    small.put(b"a", embedding())
    assert small.get(b"a") is None and not small.folder.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another mark", "longer"])
def test_a_broken_entry_is_dropped(cache, damage) -> None:
    cache.put(b"a", embedding())
    path = cache._path(b"a")
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[-7] ^= 1
    path.write_bytes(
        {
            "cut": data[:-2], "flipped": bytes(flipped), "empty": b"",
            "another mark": b"PTE9" + data[4:], "longer": data + b"\0\0",
        }[damage]
    )  # fmt: skip
    assert cache.get(b"a") is None and not path.exists()
    cache.put(b"a", embedding())
    assert cache.get(b"a") is not None


def test_a_disk_that_cannot_be_written_is_no_error(cache, monkeypatch, tmp_path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.put(b"a", embedding())
    assert cache.get(b"a") is None and names(cache.folder) == []
    monkeypatch.undo()
    (tmp_path / "file").write_text("", encoding="utf-8")
    blocked = DiskCache(tmp_path / "file" / "embeddings", 10 * FILE)
    blocked.put(b"a", embedding())
    assert blocked.get(b"a") is None and blocked.size == 0


def test_what_a_dead_writer_left_is_swept_away(cache) -> None:
    cache.folder.mkdir()
    old, new = cache.folder / "old.new", cache.folder / "young.new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * disk_cache.ABANDONED,) * 2)
    cache.put(b"a", embedding())
    assert names(cache.folder) == ["61.embedding", "young.new"]


WRITER = """
import sys, torch
from pathlib import Path
from napari_ptsam.backbones.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), int(sys.argv[2]))
for turn in range(60):
    key = bytes([turn % 20])
    found = cache.get(key)
    assert found is None or bool((found == turn % 20).all()), "half a file was read"
    cache.put(key, torch.full((64, 32), turn % 20).half())
"""


def test_two_processes_share_the_folder(cache) -> None:
    command = [sys.executable, "-c", WRITER, str(cache.folder), str(cache.limit)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert all(name.endswith(".embedding") for name in names(cache.folder))
    cache._make_room(0)
    assert 0 < cache.size <= cache.limit


def test_the_users_limit(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NAPARI_PTSAM_CACHE", str(tmp_path))
    for text, expected in (("", 4 * 10**9), ("0.5", 5 * 10**8)):
        monkeypatch.setenv("NAPARI_PTSAM_CACHE_GB", text)
        found = users_disk_cache()
        assert found is not None and found.limit == expected
        assert found.folder == tmp_path / "embeddings"
    monkeypatch.setenv("NAPARI_PTSAM_CACHE_GB", "0")
    assert users_disk_cache() is None
    for text in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("NAPARI_PTSAM_CACHE_GB", text)
        with pytest.raises(ptsam.InputError, match="how many gigabytes"):
            users_disk_cache()


def test_nothing_is_encoded_twice_however_often_a_process_starts(
    exact_backbone, nuclei, encoded, tmp_path
) -> None:
    """The same tile under another backbone, or otherwise normalised, is another one."""
    backbone = exact_backbone
    disk = DiskCache(tmp_path, 10**9)
    tile = np.repeat(nuclei[0][0][..., None] / nuclei[0][0].max(), 3, -1).astype(np.float32)
    calls = encoded

    def fresh():
        return with_cache(backbone, EmbeddingCache(), disk)

    count = len(calls)
    first = fresh().encoder([tile])
    done = len(calls)
    assert done > count and torch.equal(fresh().encoder([tile]), first) and len(calls) == done
    fresh().encoder([tile * 0.5])
    other = with_cache(backbone, EmbeddingCache(), disk)
    other.encoder._prefix = "another backbone"
    other.encoder([tile])
    assert len(calls) == done + 2 and len(names(tmp_path)) == 3
    # Whole stacks are read from there, and not written.
    spared = sparing_disk(fresh())
    assert torch.equal(spared.encoder([tile]), first) and len(calls) == done + 2
    spared.encoder([tile * 0.25])
    assert len(names(tmp_path)) == 3 and sparing_disk(backbone) is backbone
