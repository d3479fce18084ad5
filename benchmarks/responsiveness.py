"""How long napari's window is kept waiting while the widget works, and what memory it keeps.

    python benchmarks/responsiveness.py [--planes 40] [--side 1024] [--steps 150] [--batch]

Needs a display (`scripts/with_display.sh` gives a virtual one). Drives the
dock widget in a real window on a stack of `planes` images of `side` pixels:
real nuclei or cells if PTSAM_DATA names the sets (default: ../shared/data beside the
repository), else the bundled sample, repeated and cropped. A timer of the event loop
that should fire every 10 ms tells how long each call on the GUI's thread has
taken: whatever runs there keeps it from firing. Prints a Markdown table. With
--batch only the dock widget "Batch segment" is measured.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import napari
import numpy as np
import psutil
import tifffile
from qtpy.QtCore import QEventLoop, Qt, QTimer

from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.batch.batch_segment import BatchSegment

DATA = Path(os.environ.get("PTSAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
TICK = 10
"""Milliseconds."""
LIMIT = 100
"""Milliseconds that no call may take longer than."""


class Ticker:
    """Measures the gaps between the ticks of a timer in the event loop."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = perf_counter()
        self.gaps.append(1000 * (now - self._last) - TICK)
        self._last = now

    def start(self) -> None:
        """Forget what was measured."""
        self.gaps, self._last = [], perf_counter()

    def row(self, name: str, note: str = "") -> str:
        """A row of the table."""
        gaps = np.array(self.gaps or [0.0]).clip(0)
        return (
            f"| {name} | {len(gaps)} | {np.median(gaps):.0f} | {np.percentile(gaps, 99):.0f} | "
            f"{gaps.max():.0f} | {(gaps > LIMIT).sum()} | {note} |"
        )


def wait(until: Callable[[], bool] | None = None, seconds: float = 600) -> float:
    """Let the event loop run; gives the seconds that it took."""
    loop, begin = QEventLoop(), perf_counter()
    timer = QTimer()
    timer.setInterval(20)

    def look() -> None:
        spent = perf_counter() - begin
        if (until is not None and until()) or spent > seconds:
            loop.quit()

    timer.timeout.connect(look)
    timer.start()
    loop.exec_() if hasattr(loop, "exec_") else loop.exec()
    timer.stop()
    return perf_counter() - begin


def stack(planes: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and instance masks of that size."""
    folder = DATA / "usiigaci_phase" / "train"
    if folder.is_dir():
        pairs = [
            (tifffile.imread(path), tifffile.imread(folder / "masks" / path.name))
            for path in sorted((folder / "images").glob("*.tif"))
        ]
    else:
        from napari_ptsam.datasets.sample import make_sample

        sample = make_sample()
        pairs = list(zip(sample.images, sample.instances, strict=True))
    images, masks = (
        np.stack([fit(pairs[n % len(pairs)][part], n // len(pairs), side) for n in range(planes)])
        for part in (0, 1)
    )
    return images, masks


def fit(plane: np.ndarray, turns: int, side: int) -> np.ndarray:
    """A square of that side: mirrored over the edge, turned so that repeated planes differ."""
    short = [(0, max(0, side - size)) for size in plane.shape]
    return np.rot90(np.pad(plane, short, mode="symmetric")[:side, :side], turns)


def memory() -> float:
    """Resident memory of this process, in megabytes."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the window is kept waiting.")
    parser.add_argument("--planes", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_PTSAM_SESSIONS"] = folder
        measure(options)


def measure(options: argparse.Namespace) -> None:
    images, masks = stack(options.planes, options.side)
    viewer = napari.Viewer()
    viewer.window.resize(1366, 768)
    viewer.add_image(images, name="stack")
    wait(seconds=2)
    ticker = Ticker()
    print(f"{images.shape} {images.dtype}, {os.cpu_count()} cores\n")
    print("| while | ticks | median ms | 99 % ms | longest ms | over 100 ms | |")
    print("|---|---|---|---|---|---|---|", flush=True)
    if options.batch:
        import napari_ptsam as ptsam
        from napari_ptsam.widgets.shared.torch_loading import load_torch

        load_torch()  # beside an open window
        prompt = ptsam.train(list(images[:4]), list(masks[:4]), steps=options.steps, seed=0)
        batch(viewer, ticker, prompt)
        viewer.close()
        return

    widget = AnnotateAndTrain(viewer)
    viewer.window.add_dock_widget(widget, name="Annotate and train")
    session_model, annotate, train = widget.session_model, widget.annotate, widget.train
    ticker.start()
    spent = wait(lambda: "Ready" in widget.backbone.state.text())
    print(ticker.row("the backbone is loaded (torch imported)", f"{spent:.1f} s"), flush=True)
    wait(seconds=1)
    annotate.add.click()
    source = session_model.images[0]
    wait(seconds=1)

    annotate.click.setChecked(True)
    ticker.start()
    spent = wait(lambda: not session_model.jobs.has("embed view"))
    print(ticker.row("a plane is embedded for clicks", f"{spent:.1f} s"), flush=True)

    number = session_model.current()[1]
    answers, values = [], np.unique(masks[number][masks[number] > 0])[:12]
    ticker.start()
    for value in values:
        ys, xs = np.nonzero(masks[number] == value)
        middle = len(ys) // 2
        at, begin = (float(ys[middle]), float(xs[middle])), perf_counter()
        annotate.click_tool.click(source, number, at)
        wait(lambda: not session_model.jobs.has("click"))
        answers.append(perf_counter() - begin)
        annotate.click_tool.forget()
    note = f"median answer {np.median(answers):.2f} s, longest {max(answers):.2f} s"
    print(ticker.row(f"{len(answers)} clicks are answered", note), flush=True)
    annotate.click.setChecked(False)

    ticker.start()
    annotate.suggest.click()
    spent = wait(lambda: not annotate.suggester.running)
    print(ticker.row("planes are embedded to suggest one", f"{spent:.0f} s"), flush=True)

    ticker.start()
    for number in range(16):
        for value in np.unique(masks[number][masks[number] > 0]):
            rows, columns = np.nonzero(masks[number] == value)
            where = np.full(len(rows), number), rows, columns
            QTimer.singleShot(0, lambda w=where, v=value: source.labels.data_setitem(w, int(v)))
            wait(seconds=0.02)
        session_model.records.mark(source.id, number, True)
    wait(
        lambda: (
            len(session_model.records) >= 16
            and not session_model.disk.has(f"save plane {source.id} 15")
        )
    )
    wait(seconds=3)
    print(ticker.row("16 planes are painted and autosaved"), flush=True)

    widget.tabs.setCurrentIndex(2)
    session_model.settings |= {"steps": options.steps, "embeddings": 32}
    viewer.dims.set_point(0, 20)
    wait(seconds=2)
    before = memory()
    for run in ("first", "second"):
        shown: list[float] = []
        phases: set[str] = set()
        train.run.predicted.connect(lambda _, s=shown: s.append(perf_counter()))
        train.run.progressed.connect(lambda p, s=phases: s.add(p.phase))
        train.train.click()
        ticker.start()
        begin = perf_counter()
        wait(lambda p=phases: "training" in p)
        first = f"preview after {shown[0] - begin:.1f} s" if shown else ""
        print(ticker.row(f"{run} training: tiles are embedded", first), flush=True)
        ticker.start()
        spent = wait(lambda: not train.run.running)
        gaps = np.diff(shown)
        note = f"{spent:.0f} s, preview every {np.median(gaps):.1f} s" if len(gaps) else ""
        print(ticker.row(f"{run} training: the prompt is tuned", note), flush=True)
        wait(seconds=3)
        cache = session_model.backbone_service._cache.size / 2**20
        print(
            f"| | | | | | | memory {before:.0f} MB before, {memory():.0f} MB after, "
            f"{cache:.0f} MB of it in the embedding cache |",
            flush=True,
        )

    stops = []
    session_model.settings["steps"] = 5000
    for seconds in (1, 4, 8):
        train.train.click()
        wait(seconds=seconds)
        begin = perf_counter()
        train.stop.click()
        wait(lambda: not train.run.running)
        stops.append(perf_counter() - begin)
        wait(seconds=1)
    print(f"\nStop answers after {', '.join(f'{s:.2f}' for s in stops)} s.")
    batch(viewer, ticker, session_model.prompt)
    viewer.close()


def batch(viewer: napari.Viewer, ticker: Ticker, prompt: Any) -> None:
    """Apply a prompt to the stack: to layers, to files."""
    ticker.start()
    widget = BatchSegment(viewer)
    viewer.window.add_dock_widget(widget, name="Batch segment")
    widget.use_prompt(prompt)
    spent = wait(lambda: widget.backbone_service.state.startswith("Ready"))
    print(ticker.row("Batch segment is opened", f"{spent:.1f} s"), flush=True)
    wait(seconds=3)
    shape = viewer.layers[0].data.shape
    for number in ("first", "second"):  # what a result layer costs at least
        ticker.start()
        QTimer.singleShot(0, lambda: viewer.add_labels(np.zeros(shape, np.uint8), name="empty"))
        wait(seconds=1)
        print(ticker.row(f"napari alone adds a Labels layer, the {number}"), flush=True)
        viewer.layers.remove("empty")
        wait(seconds=1)
    with tempfile.TemporaryDirectory() as folder:
        for output, where in (
            ("labels", "layers"), ("labels", "layers"), ("instances", "layers"),
            ("probabilities", "layers"), ("instances", "files"), ("labels", "both"),
        ):  # fmt: skip
            for box, value in ((widget.results.output, output), (widget.results.where, where)):
                box.setCurrentIndex(box.findData(value))
            own = Path(folder, f"{output} {where}")
            own.mkdir(exist_ok=True)
            widget.files.folder.setText(str(own))
            wait(seconds=1)
            ticker.start()
            widget.start_button.click()
            spent = wait(lambda: not widget.run.running)
            name = f"a stack becomes {output} as {where}"
            print(ticker.row(name, f"{spent:.0f} s"), flush=True)
            for layer in [layer for layer in viewer.layers if " – " in layer.name]:
                viewer.layers.remove(layer)
    widget.close_down(5)


if __name__ == "__main__":
    main()
