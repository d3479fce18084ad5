"""How stacks are segmented into files: speed, memory, and what kills leave behind.

    python benchmarks/stacks.py [throughput] [kill] [memory] [--planes N] [--kills N] [--side N]

``throughput``: planes of 512 x 512 made from real nuclei, segmented into memory
and into OME-Zarr, against the bare image encoder on the same prepared tiles;
the three take turns in blocks, and the row gives medians over the blocks.
``kill``: a run is killed at random moments, also while it finishes, and resumed;
the result is compared byte by byte with that of an undisturbed run. ``memory``:
a sparse zarr of many GB into OME-Zarr, with the peak of the process's memory.
PTSAM_DATA names the folder with bbbc039_nuclei (default: ../shared/data).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import tifffile
import zarr

from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling, cut
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.inference.shared_embedding import segment_planes
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.prompt import Prompt

DATA = Path(os.environ.get("PTSAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description="Stacks into files: speed, kills, memory.")
    parser.add_argument("names", nargs="*", help="throughput, kill, memory; none: all")
    parser.add_argument("--planes", type=int, help="default: 100, 20 to be killed, 600 of memory")
    parser.add_argument("--block", type=int, default=5, help="planes that are timed in turn")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--side", type=int, default=4096, help="of the planes of memory")
    options = parser.parse_args()
    known = {"throughput": throughput, "kill": kill, "memory": memory}
    if unknown := set(options.names) - set(known):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or known:
            print(known[name](options, Path(folder)), flush=True)


def nuclei(count: int) -> np.ndarray:
    """Planes of SIDE x SIDE pixels, from the images one after the other."""
    files = sorted((DATA / "bbbc039_nuclei").glob("t*/images/*.tif"))
    images = [tifffile.imread(file) for file in files[:count]]
    tiled = [np.tile(image, (2, 2))[:SIDE, :SIDE] for image in images]
    return np.stack([tiled[number % len(tiled)] for number in range(count)])


def quick_prompt(backbone: Backbone, side: int) -> Prompt:
    """Tokens that were not trained: what they find takes as long to find."""
    tokens = np.random.default_rng(0).normal(size=(1, 8, 256)).astype(np.float32)
    images = ImageSettings(Tiling(side))
    return Prompt(tokens, ("a",), ("#E69F00",), backbone.name, backbone.signature, images)


def first_tiles(segmenter: Segmenter, planes: Planes) -> list[np.ndarray]:
    """The first tile of each plane, prepared for the encoder."""
    images = segmenter.prompt.images
    tile = images.tiling.tiles(planes.shape)[0]
    return [cut(images.prepare(plane).pixels, tile) for plane in planes]


def throughput(options: argparse.Namespace, folder: Path) -> str:
    backbone = load_backbone()
    segmenter = Segmenter(quick_prompt(backbone, SIDE), backbone)
    planes = Planes(nuclei(options.planes or 100), "ZYX", "nuclei")
    tiles = first_tiles(segmenter, planes)
    out = folder / "throughput.ome.zarr"
    into_file = iter(segment_to_files(planes, [FileResult(segmenter, out)]))
    into_memory = segment_planes(segmenter, planes)
    backbone.encoder(tiles[:1]), segmenter.plane(planes[0])  # warm
    seconds: dict[str, list[float]] = {"encoder": [], "memory": [], "OME-Zarr": []}
    for start in range(0, len(tiles), options.block):
        count = len(tiles[start : start + options.block])
        last = start + count == len(tiles)
        for name, work in (
            ("encoder", lambda start=start, count=count: [
                backbone.encoder([tile]) for tile in tiles[start : start + count]]),
            ("memory", lambda count=count: [next(into_memory) for _ in range(count)]),
            # With what comes after the last plane.
            ("OME-Zarr", lambda count=count, last=last: (
                list(into_file) if last else [next(into_file) for _ in range(count)])),
        ):  # fmt: skip
            begin = perf_counter()
            work()
            seconds[name].append((perf_counter() - begin) / count)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    cells = [f"{name} {1 / value:.2f} planes/s" for name, value in median.items()]
    cells += [f"{n} {median['encoder'] / median[n]:.3f} of the encoder" for n in list(median)[1:]]
    cells.append(f"the last block with finishing {seconds['OME-Zarr'][-1]:.3f} s a plane")
    return f"| throughput, {len(tiles)} planes | " + " | ".join(cells) + " |"


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def goes_on(work: Path, late: bool, before: int) -> bool:
    """Whether a run has done a plane since, or is finishing."""
    return (work / "linked.zarr").exists() if late else size_of(work / "done") > before


def kill(options: argparse.Namespace, folder: Path) -> str:
    count, backbone = options.planes or 20, load_backbone()
    prompt = quick_prompt(backbone, 128).save(folder / "prompt.pt")
    source = folder / "stack.tif"
    tifffile.imwrite(source, nuclei(count)[:, :128, :128], photometric="minisblack")
    whole, killed = folder / "whole.ome.zarr", folder / "killed.ome.zarr"
    command = [sys.executable, "-m", "napari_ptsam", "segment", str(prompt), str(source),
               "--instances", "--link-planes", "-o"]  # fmt: skip
    subprocess.run([*command, str(whole)], check=True, stdout=subprocess.DEVNULL)
    work = killed.with_name(f"{killed.name}.partial")
    random, kills, finishing, starts = np.random.default_rng(0), 0, 0, 0
    while kills < options.kills and starts < 10 * options.kills:
        late = starts % 3 == 2  # while it finishes: linking begins after the last plane
        starts += 1
        shutil.rmtree(work / "linked.zarr", ignore_errors=True)  # of the kill before
        before = size_of(work / "done")
        process = subprocess.Popen(
            [*command, str(killed), "--resume"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not goes_on(work, late, before):
            sleep(0.002)
        sleep(random.uniform(0, 0.02 if late else 2.0))
        process.kill()
        process.wait()
        kills += process.returncode < 0
        finishing += late and process.returncode < 0
        if killed.exists():  # it was quicker; kill it anew
            shutil.rmtree(killed)
    subprocess.run([*command, str(killed), "--resume"], check=True, stdout=subprocess.DEVNULL)
    equal = contents(whole) == contents(killed)
    return (
        f"| kill, {count} planes | {starts} starts, {kills} kills, {finishing} while finishing | "
        f"equal: {equal} |"
    )


PEAK = """
import resource, sys
from pathlib import Path
from napari_ptsam.images.reading import open_image
from napari_ptsam.prompts.files import load
from napari_ptsam.backbones.loading import load_backbone
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.inference.segment import Segmenter
segmenter = Segmenter(load(sys.argv[1]), load_backbone())
for _ in segment_to_files(open_image(sys.argv[2]), [FileResult(segmenter, Path(sys.argv[3]))]): pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(options: argparse.Namespace, folder: Path) -> str:
    count, side, backbone = options.planes or 600, options.side, load_backbone()
    source, out = folder / "large.zarr", folder / "large.ome.zarr"
    array = zarr.create_array(
        source, shape=(count, side, side), chunks=(1, 1024, 1024), dtype="u2",
        dimension_names=["z", "y", "x"],
    )  # fmt: skip
    real, written = nuclei(1)[0], list(range(0, count, max(count // 4, 1)))
    for number in written:
        array[number, :SIDE, :SIDE] = real
    small = quick_prompt(backbone, SIDE)
    prompt = replace(small, images=replace(small.images, tiling=Tiling(side)))
    path = prompt.save(folder / "large.pt")
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(source), str(out)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = int(run.stdout) / 1e6  # kilobytes
    planes, found = open_image(source), zarr.open_group(out, mode="r")["0"]
    segmenter = Segmenter(load(path), backbone)
    equal = all(np.array_equal(segmenter.plane(planes[n]), found[n]) for n in written)
    size = count * side * side * 2 / 1e9
    return (
        f"| memory, {count} x {side} x {side}, {size:.1f} GB | peak {peak:.2f} GB | "
        f"{len(written)} planes equal: {equal} |"
    )


if __name__ == "__main__":
    main()
