"""Five hundred damaged checkpoints: each declined with our own error, and none run."""

import io
import pickle
import random
import zipfile
from pathlib import Path
from time import perf_counter

import pytest
import torch
from safetensors.torch import save as to_safetensors

from napari_ptsam.backbones.checkpoints import read_checkpoint
from napari_ptsam.errors import CheckpointError

SMALL = {
    "mask_decoder.iou_token.weight": torch.arange(256.0)[None],
    "image_encoder.pos_embed": torch.ones(1, 4, 4, 8),
    "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256),
}
"""What a checkpoint is known by, and little more, so that many can be read in a short time."""


@pytest.fixture(scope="module")
def pytorch() -> bytes:
    file = io.BytesIO()
    torch.save(SMALL, file)
    return file.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    """Reads a damaged file: None if it was declined, in time and with our own error."""
    path = tmp_path / "weights.pth"

    def check(content: bytes):
        path.write_bytes(content)
        begin = perf_counter()
        try:
            return read_checkpoint(path)
        except CheckpointError:
            return None
        finally:
            assert perf_counter() - begin < 1.0

    return check


def is_whole(found) -> bool:
    return found.keys() == SMALL.keys() and all(torch.equal(found[k], SMALL[k]) for k in SMALL)


def test_the_file_itself_is_read(pytorch: bytes, read) -> None:
    assert is_whole(read(pytorch)) and is_whole(read(to_safetensors(SMALL)))


def test_ended_early(pytorch: bytes, read) -> None:
    rng = random.Random(0)
    for content in (pytorch, to_safetensors(SMALL)):
        for _ in range(75):
            assert read(content[: rng.randrange(len(content))]) is None


def test_flipped_bits_are_noticed_or_do_not_matter(pytorch: bytes, read) -> None:
    rng, noticed = random.Random(1), 0
    for _ in range(200):
        damaged = bytearray(pytorch)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        found = read(bytes(damaged))
        assert found is None or is_whole(found)  # such as the date of a member
        noticed += found is None
    assert noticed > 100


def test_a_damaged_header_of_safetensors(read) -> None:
    content, rng = to_safetensors(SMALL), random.Random(2)
    length = int.from_bytes(content[:8], "little")
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.randrange(8 + length)] = rng.randrange(128, 256)
        found = read(bytes(damaged))
        assert found is None or found.keys() < SMALL.keys()  # a name that is another now


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickles_run_nothing(pytorch: bytes, read, tmp_path: Path) -> None:
    mark, rng = tmp_path / "ran", random.Random(3)
    hostile = pickle.dumps(Runs(mark), protocol=2)
    with zipfile.ZipFile(io.BytesIO(pytorch)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith("data.pkl"))
    for number in range(50):
        at = rng.randrange(len(members[name]))
        pickled = [
            hostile,
            members[name][:at] + hostile[2:],
            bytes(rng.randrange(256) for _ in range(100)),
        ][number % 3]
        new = io.BytesIO()
        with zipfile.ZipFile(new, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, pickled if member == name else content)
        assert read(new.getvalue()) is None
        assert read(pickled) is None
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [None, 1, [], {}, {"a": 1}, {"mask_decoder.iou_token.weight": 1}, torch.zeros(3)]
)
def test_other_contents(content, read) -> None:
    file = io.BytesIO()
    torch.save(content, file)
    found = read(file.getvalue())
    assert found is None or found == {}
