"""Ten thousand damaged prompt files: each declined with our own error, soon, and none run."""

import io
import pickle
import pickletools
import random
import zipfile
from pathlib import Path
from time import perf_counter

import pytest
import torch

from conftest_prompts import make
from napari_ptsam.errors import PromptFileError
from napari_ptsam.prompts.files import load, save

SECOND = 1.0


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(make(), tmp_path_factory.mktemp("whole") / "a.pt").read_bytes()


@pytest.fixture
def declined(tmp_path: Path):
    """Writes a damaged file, and checks that it is declined."""
    path = tmp_path / "bad.pt"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        begin = perf_counter()
        with pytest.raises(PromptFileError):
            load(path)
        assert perf_counter() - begin < SECOND

    return check


def test_ended_after_any_byte(content: bytes, declined) -> None:
    assert len(content) > 10_000
    for length in range(len(content)):
        declined(content[:length])


def test_any_bit_flipped(content: bytes, declined) -> None:
    rng = random.Random(0)
    for _ in range(1500):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        if damaged != content:
            declined(bytes(damaged))


def with_pickle(content: bytes, pickled: bytes) -> bytes:
    """The archive with another pickle in it, its checksums right."""
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            archive.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return new.getvalue()


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_fuzzed_pickles_run_nothing(content: bytes, declined, tmp_path: Path) -> None:
    rng, mark = random.Random(1), tmp_path / "ran"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        good = archive.read(name)
    starts = [position for _, _, position in pickletools.genops(good)]
    hostile = pickle.dumps(Runs(mark), protocol=2)
    for number in range(400):
        first, last = sorted(rng.sample(starts, 2))
        fuzzed = [
            hostile,
            good[:first] + hostile[2:-1] + good[first:],
            good[:first] + bytes([rng.randrange(256)]) + good[first + 1 :],
            good[:first] + good[last:],
            good[:last] + good[first:],
            b"\x80\x02cos\nsystem\n(X\x05\x00\x00\x00touchtR." + good[first:],
            bytes(rng.randrange(256) for _ in range(rng.randrange(1, 300))),
        ][number % 7]
        if fuzzed != good:
            declined(with_pickle(content, fuzzed))
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "text", [], {}, True, b"bytes", float("nan"), float("inf"), -1, 10**30,
        torch.zeros(3), torch.zeros(1, 8, 256, dtype=torch.float64), torch.zeros(1, 8, 255),
        torch.full((1, 8, 256), float("nan")), torch.zeros(0), torch.zeros(1, 8, 256).to_sparse(),
        torch.zeros(1).expand(10**9),
    ],
)  # fmt: skip
def test_wrong_types_and_shapes(value, content: bytes, declined) -> None:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    del plain["sealed"]  # else that alone would be enough to decline it
    for key in plain:
        if fits(key, value):
            continue
        file = io.BytesIO()
        torch.save(plain | {key: value}, file)
        declined(file.getvalue())


def fits(key: str, value) -> bool:
    """Whether a file with such a value there is a prompt all the same."""
    if value is None:
        return key in {
            "cores",
            "encoder_tokens",
            "refinement",
            "thumbnail",
            "pixel_size",
            "channels",
            "trained_channels",
        }
    if isinstance(value, str):
        return key in {"notes", "licence", "author", "weights", "signature", "backbone"}
    if isinstance(value, list):
        return key in {"encoder_tokens", "flips"}
    return type(value) is int and value == 1 and key == "version"
