"""How fast it is, each time against a counterpart that is measured in the same run.

    python benchmarks/speed.py [step embed train stack second open]

Needs a display for ``open`` (`scripts/with_display.sh` gives a virtual one).
PTSAM_DATA names the folder with bbbc039_nuclei (default: ../shared/data beside
the repository). "Plain PTSAM" is segment-anything's and kornia's modules as
they come, float32, with the encoder in every step; a few of its steps are timed
and scaled to as many as ours. Counterparts take turns with ours, and rows give
medians. ``embed`` also times OpenVINO where it is installed (``pip install openvino``), and the
floor: the operations of a tile at the speed of a large product. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.utils.flop_counter import FlopCounterMode

from accuracy import DATA, read
from napari_ptsam.backbones.checkpoints import embedded_checkpoint, read_checkpoint
from napari_ptsam.backbones.disk_cache import DiskCache
from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache
from napari_ptsam.backbones.families.registry import family_of
from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.datasets.annotated_planes import AnnotationSet
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.inference.shared_embedding import segment_planes
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.optimization import OFFSETS, class_losses
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.tiles import PreparedPlanes, TileJob, TrainingTile, embed
from napari_ptsam.training.trainer import Training
from napari_ptsam.training.validation import overlaps
from stacks import first_tiles, nuclei, quick_prompt

TIMES = 11
"""How often each is timed."""
PRODUCT = 4096
"""Side of the matrices whose product shows how fast the machine computes."""
NEAR = 0.01
"""Of the final IoU: what counts as there."""


def medians(works: dict[str, Callable[[], object]], times: int = TIMES) -> dict[str, float]:
    """Seconds of each, taking turns; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(times + 1):
        for name, work in works.items():
            begin = perf_counter()
            work()
            if turn:
                seconds[name].append(perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in seconds.items()}


class Plain:
    """MobileSAM put together from segment-anything's and kornia's modules as they come, float32."""

    def __init__(self) -> None:
        state = read_checkpoint(embedded_checkpoint())
        self.sam = Sam(**family_of("vit_t").build("vit_t")).eval().requires_grad_(False)
        self.sam.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 1024, 1024), normalised, to (B, 256, 64, 64)."""
        return self.sam.image_encoder(pixels)

    def decode(self, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, 256, 64, 64) and (8, 256) to logits (B, 256, 256)."""
        prompts = self.sam.prompt_encoder
        masks, _ = self.sam.mask_decoder(
            image_embeddings=embeddings,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=tokens[None],
            dense_prompt_embeddings=prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(
                1, -1, 64, 64
            ),
            multimask_output=False,
        )
        return masks[:, 0]


def batch_of(train: AnnotationSet, backbone: Backbone, count: int = 4) -> list[TrainingTile]:
    """Tiles of the first planes, embedded."""
    images = image_settings(train.examples, TrainingSettings())
    limits = [images.limits(stack) for stack in train.stacks]
    jobs = [
        TileJob(n, images.tiling.tiles(e.shape)[0], 0) for n, e in enumerate(train.examples[:count])
    ]
    return list(embed(jobs, train.examples, PreparedPlanes(images, limits), backbone, 1))


def step(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """One step of the decoder, forward and backward."""
    tiles = batch_of(train, backbone)
    start = backbone.decoder.foreground_label + 0.1 * torch.randn(1, 8, 256)
    square = (
        torch.stack([t.embedding for t in tiles]).float().transpose(1, 2).unflatten(2, (64, 64))
    )
    target, weight = (
        torch.stack([t.target[0] for t in tiles]),
        torch.stack([t.weight for t in tiles]),
    )

    def theirs() -> None:
        tokens = start[0].clone().requires_grad_()
        bce_dice(plain.decode(square, tokens), target, weight).backward()

    def ours(offset: tuple[int, int] | None) -> None:
        tokens = start.clone().requires_grad_()
        class_losses(backbone.decoder, tokens, tiles, offset).sum().backward()

    found = medians(
        {"plain": theirs, "whole": lambda: ours(None), "ours": lambda: ours(OFFSETS[0])}
    )
    yield _row("a step of the decoder, batch 4", found["ours"], found["plain"], 5)
    yield _row("the same, all positions in every step", found["whole"], found["plain"])


def encoder(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """A tile through the encoder, other runtimes, and the time that its products need alone."""
    del train
    tile = np.random.default_rng(0).random((1024, 1024, 3), dtype=np.float32)
    pixels = torch.from_numpy(tile).permute(2, 0, 1)[None]
    dtype = backbone.encoder.dtype
    left, right = (torch.rand(PRODUCT, PRODUCT).to(dtype) for _ in range(2))
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: backbone.encoder([tile]),
        "plain": lambda: plain.encode(pixels),
        "product": lambda: left @ right,
        **openvino_encoders(plain.sam.image_encoder, pixels),
    }
    found = medians(works)
    ours = found.pop("ours")
    yield _row("embedding a tile, vit_t, against kornia's module", ours, found.pop("plain"), 2)
    speed = 2 * PRODUCT**3 / found.pop("product")
    for name, seconds in found.items():
        yield _row(f"the same, against {name}", ours, seconds)
    with FlopCounterMode(display=False) as counter:
        plain.encode(pixels)
    floating = counter.get_total_flops()
    yield _row(
        f"the same, against its {floating / 1e9:.0f} GFLOP at the {speed / 1e12:.2f} TFLOP/s of a "
        f"large product in {str(dtype).removeprefix('torch.')}",
        ours,
        floating / speed,
    )


def openvino_encoders(
    module: torch.nn.Module, pixels: torch.Tensor
) -> dict[str, Callable[[], object]]:
    """Kornia's module in OpenVINO, by the name of the dtype; empty if it is not installed."""
    if find_spec("openvino") is None:
        return {}
    import openvino

    model = openvino.convert_model(module, example_input=pixels, input=list(pixels.shape))
    works: dict[str, Callable[[], object]] = {}
    for name in ("bf16", "f32"):
        hints = {"INFERENCE_PRECISION_HINT": name, "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.compile_model(model, "CPU", hints).create_infer_request()
        works[f"OpenVINO in {name}"] = partial(request.infer, [pixels.contiguous().numpy()])
    return works


def train_all(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """Training with default settings; cold and warm cache; when it is nearly there."""
    with tempfile.TemporaryDirectory() as folder:
        runs, near = [], 0.0
        for turn in range(2):
            cached = with_cache(backbone, EmbeddingCache(), DiskCache(Path(folder), 10**10))
            training, begin, seen = Training(train, cached), perf_counter(), []
            for _ in training:
                if turn == 0 and training.tokens is not None:
                    seen += [(perf_counter() - begin, training.tokens.clone())]
            runs.append(perf_counter() - begin)
            if turn == 0:
                steps, near = training.steps, _near(training, seen, backbone)
            training.close()
    cold, warm = runs
    pixels = torch.rand(4, 3, 1024, 1024)
    tokens = torch.randn(8, 256, requires_grad=True)

    def plain_step() -> None:
        plain.decode(plain.encode(pixels), tokens).sigmoid().mean().backward()

    whole = medians({"plain": plain_step}, 3)["plain"] * steps
    yield _row(f"training on 16 images, {steps} steps, embedding included", cold, whole, 40)
    yield _row("the same with a warm cache on disk, against a cold one", warm, cold, 1.5)
    yield (
        f"| validation IoU within {NEAR} of its final value | {near:.1f} s | the clock | | 45 s or less |"
    )


def _near(training: Training, seen: list[tuple[float, torch.Tensor]], backbone: Backbone) -> float:
    """Seconds after which the validation IoU stays within `NEAR` of the final one, or above."""
    final = _iou(training, torch.from_numpy(training.prompt.tokens), backbone)
    reached = seen[-1][0]
    for seconds, tokens in reversed(seen[:: max(1, len(seen) // 60)]):
        if _iou(training, tokens, backbone) < final - NEAR:
            break
        reached = seconds
    return reached


def _iou(training: Training, tokens: torch.Tensor, backbone: Backbone) -> float:
    planes = training._embedded.measured
    return float(np.mean([overlaps(plane, tokens, backbone)[0].iou for plane in planes]))


def stack(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """A stack of planes of 512 x 512, a tile each."""
    del train, plain
    planes = Planes(nuclei(40), "ZYX", "nuclei")
    segmenter = Segmenter(quick_prompt(backbone, 512), backbone)
    results, encoded = segment_planes(segmenter, planes), iter(first_tiles(segmenter, planes))

    def five(work: Callable[[], object]) -> Callable[[], None]:
        def five_times() -> None:
            for _ in range(5):
                work()

        return five_times

    found = medians(
        {
            "ours": five(lambda: next(results)),
            "encoder": five(lambda: backbone.encoder([next(encoded)])),
        },
        7,
    )
    yield _row("segmenting a plane of a stack, against the bare encoder", found["ours"] / 5,
               found["encoder"] / 5, 0.9)  # fmt: skip


def second(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """A second prompt on a stack that is embedded."""
    del train, plain
    planes = nuclei(12)
    cached = with_cache(backbone, EmbeddingCache())
    prompt = quick_prompt(backbone, 512)
    seconds = []
    for _ in range(2):
        segmenter, spent = Segmenter(prompt, cached), []
        for plane in planes:
            begin = perf_counter()
            segmenter.plane(plane)
            spent.append(perf_counter() - begin)
        seconds.append(float(np.median(spent)))
    yield _row("a plane under a second prompt, against the first", seconds[1], seconds[0], 8)


OPEN = """
import sys
from time import perf_counter
begin = perf_counter()
import napari_ptsam
imported = perf_counter() - begin
import napari, napari_ptsam.widgets.shared.qt_helpers
viewer = napari.Viewer(show=False)
spent = []
for module, name in (("annotate.annotate_and_train", "AnnotateAndTrain"), ("batch.batch_segment", "BatchSegment")):
    begin = perf_counter()
    widget = getattr(__import__(f"napari_ptsam.widgets.{module}", fromlist=[name]), name)(viewer)
    viewer.window.add_dock_widget(widget, name=name)
    spent.append(perf_counter() - begin)
    loaded = "torch" in sys.modules
print(imported, *spent, loaded)
import os; os._exit(0)
"""


def opening(train: AnnotationSet, backbone: Backbone, plain: Plain) -> Iterator[str]:
    """Until there is something to see; torch loads after that."""
    del train, backbone, plain
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        # With bytecode, as an installation has it; the first run writes what is missing.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"NAPARI_PTSAM_SESSIONS": folder}
        for _ in range(6):
            run = subprocess.run(
                [sys.executable, "-c", OPEN], check=True, stdout=subprocess.PIPE, text=True,
                env=environment,
            )  # fmt: skip
            rows.append(run.stdout.split()[-4:])
    times = np.median(np.array([row[:3] for row in rows[1:]], float), 0)
    torch_too = any(row[3] == "True" for row in rows)
    names = ("importing napari_ptsam", "opening Annotate and train", "opening Batch segment")
    for name, seconds, wanted in zip(names, times, ("0.2 s", "0.5 s", "0.5 s"), strict=True):
        yield f"| {name} | {seconds:.3f} s | torch loaded: {torch_too} | | {wanted} |"


def _row(what: str, ours: float, other: float, wanted: float | None = None) -> str:
    aim = "" if wanted is None else f"{wanted:g} x"
    return f"| {what} | {ours:.3f} s | {other:.3f} s | {other / ours:.2f} x | {aim} |"


PARTS = {
    "step": step, "embed": encoder, "train": train_all, "stack": stack, "second": second,
    "open": opening,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed against counterparts.")
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    folder = Path(os.environ.get("PTSAM_DATA", DATA)) / "bbbc039_nuclei" / "train"
    if not folder.is_dir():
        parser.error(f"no images at {folder}; set PTSAM_DATA")
    train, backbone, plain = read(folder), load_backbone(), Plain()
    print(
        f"{backbone.name} in {backbone.encoder.dtype} on {backbone.device}, {os.cpu_count()} cores\n"
    )
    print("| what | ours | counterpart | ratio | wanted |\n|---|---|---|---|---|", flush=True)
    for name in options.parts or PARTS:
        for row in PARTS[name](train, backbone, plain):
            print(row, flush=True)


if __name__ == "__main__":
    main()
