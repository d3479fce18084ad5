"""Take the pictures of the documentation: drive the dock widgets in a real window.

    xvfb-run -a -s "-screen 0 1600x1000x24" python scripts/screenshots.py [OUT] [--batch]

OUT is a folder, docs/images unless named; with --batch only the pictures of
"Batch segment" are taken. Where the environment variable
PTSAM_DATA names the real sets, the images are BBBC039 nuclei, else the bundled
sample. Settings and sessions are kept in a temporary folder. Takes a few
minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from PIL import Image

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZE = 1366, 768
COLOURS = 255
LONG = 900.0
"""Seconds after which something that should happen has not."""
PIXEL_SIZE = 0.656
"""Of BBBC039, in micrometers."""
PREPARED = (0, 1, 2, 3, 4, 6, 7)
"""Planes that get their annotation from the masks that are there."""
CLICKED, LOOKED_AT, RESULT = 5, 8, 13
"""The plane whose objects are clicked on, and two that are not annotated."""
CLICKS = 14
HALF = 0.6
"""Part of the training after which its picture is taken."""
SCRIBBLED = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    parser.add_argument("out", type=Path, nargs="?", default=IMAGES)
    parser.add_argument("--batch", action="store_true", help="only those of Batch segment")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = os.environ.get("PTSAM_DATA")
    data = data and str(Path(data).resolve())
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # paths in the pictures are relative to it
        os.environ["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        try:
            if not options.batch:
                _whole_objects(out, data)
                _scribbles(out)
                _recovery(out)
            _batch(out, data)
        finally:
            os.chdir(here)


# The parts


def _whole_objects(out: Path, data: str | None) -> None:
    """From images to a saved prompt."""
    driver = Driver("sessions", out)
    name, images, masks, where = _nuclei(data) if data else _sample()
    driver.viewer.add_image(images, name=name, contrast_limits=_limits(images), **where)
    widget = driver.dock()
    session_model = widget.session_model
    driver.wait(lambda: len(session_model.images) == 1, "an image in use")
    source = session_model.images[0]
    driver.go(source, CLICKED)
    driver.shoot("annotate-1-images")

    widget.tabs.setCurrentWidget(widget.annotate)
    widget.annotate.add.click()
    for number in PREPARED:
        driver.paint(source.labels, number, masks[number])
        session_model.records.mark(source.id, number, True)
    session_model.touch()
    driver.wait(lambda: len(session_model.counting()) == len(PREPARED), "annotated planes")
    states: list[str] = []
    widget.annotate.click_tool.state_changed.connect(states.append)
    driver.go(source, CLICKED)
    widget.annotate.click.click()
    driver.wait(lambda: "Click on objects." in states, "an embedded plane")
    for y, x in _middles(masks[CLICKED], CLICKS):
        widget.annotate.click_tool.click(source, CLICKED, (y, x))
        driver.wait(lambda: not session_model.jobs.has("click"), "an outline")
    driver.wait(
        lambda: session_model.records.get(source.id, CLICKED).painted, "a plane that is counted"
    )
    driver.shoot("annotate-2-annotate")
    widget.annotate.click.click()
    driver.paint(source.labels, CLICKED, masks[CLICKED])
    session_model.records.mark(source.id, CLICKED, True)

    driver.go(source, LOOKED_AT)
    widget.tabs.setCurrentWidget(widget.train)
    widget.train.options.preset.setCurrentText("quick")
    widget.train.options.preset.activated.emit(0)
    rates: list[float] = []
    widget.train.run.progressed.connect(
        lambda now: now.phase == "training" and rates.append(now.step / now.steps)
    )
    widget.train.train.click()
    driver.wait(lambda: bool(rates) and rates[-1] > HALF, "a training half done")
    driver.shoot("annotate-3-training")
    driver.wait(lambda: not widget.train.run.running, "a prompt")
    driver.wait(lambda: all(e.dice is not None for e in session_model.counting()), "a Dice a plane")
    widget.train.save_to(Path("nuclei.pt"))
    driver.go(source, RESULT)
    driver.wait(lambda: not session_model.jobs.has("preview"), "a preview")
    driver.shoot("annotate-4-result")
    session = widget.autosave.folder.path
    unlocked = shutil.ignore_patterns(".*")
    shutil.copytree(session, Path("crashed", session.name), ignore=unlocked)
    driver.close()


def _scribbles(out: Path) -> None:
    """Two classes by a few strokes, on the bundled sample."""
    from napari_ptsam.datasets.sample import make_sample

    driver = Driver("scribbled", out)
    name, images, _, where = _sample()
    labels = make_sample().annotated[1]
    driver.viewer.add_image(images, name=name, contrast_limits=_limits(images), **where)
    widget = driver.dock()
    widget.tabs.setCurrentWidget(widget.annotate)
    widget.annotate.sparse.click()
    classes = widget.annotate.classes
    classes.list.item(1).setText("cell")
    classes._add()
    classes.list.item(2).setText("debris")
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    for number in SCRIBBLED:
        driver.scribble(source.labels, number, images[number], labels[number] > 0)
    driver.go(source, SCRIBBLED[-1])
    driver.wait(
        lambda: len(widget.session_model.counting()) == len(SCRIBBLED), "strokes that are counted"
    )
    driver.shoot("annotate-5-scribbles")
    driver.close()


def _recovery(out: Path) -> None:
    """The offer to go on with a session that was not closed."""
    driver = Driver("crashed", out)
    widget = driver.dock()
    driver.wait(widget.offer.isVisible, "a session to be offered")
    driver.shoot("annotate-6-recovery")
    driver.close()


def _batch(out: Path, data: str | None) -> None:
    """Prompt files on a stack: the form, the result, and files."""
    name, images, masks, where = _nuclei(data) if data else _sample()
    path = _prompt_file(images, masks, where)
    driver = Driver("batch", out)
    limits = _limits(images)
    driver.viewer.add_image(images[RESULT:], name=name, contrast_limits=limits, **where)
    driver.viewer.add_image(
        images[LOOKED_AT], name=f"{name}, one plane", contrast_limits=limits, visible=False,
        scale=where["scale"][1:], units=where["units"][1:],
    )  # fmt: skip
    widget = driver.dock("Batch segment")
    widget.open_prompt(path)
    driver.wait(lambda: bool(widget.prompts.opened), "a prompt")
    driver.wait(lambda: widget.backbone_service.state.startswith("Ready"), "the backbone")
    widget.images.all.click()
    driver.shoot("batch-1-form")
    layer = driver.viewer.layers[-1]
    layer.scale, seen = np.multiply(layer.scale, 0.4), layer.scale
    driver.rest(0.5)
    driver.show(widget, widget.rescale)
    driver.shoot("batch-4-pixel-size")
    layer.scale = seen
    widget.images.none.click()
    widget.layers.tick_first([driver.viewer.layers[name]])
    choose = widget.results.output
    choose.setCurrentIndex(choose.findData("instances"))
    widget.results.objects.min_size.setValue(30)
    driver.show(widget, widget.results)
    widget.start_button.click()
    driver.wait(lambda: not widget.run.running, "a result")
    driver.shoot("batch-2-result")
    widget.results.where.setCurrentIndex(widget.results.where.findData("files"))
    Path("results").mkdir(exist_ok=True)
    widget.files.folder.setText("results")
    widget.results.objects.linked.setChecked(True)
    driver.show(widget, widget.files)
    widget.start_button.click()
    driver.wait(lambda: not widget.run.running, "files")
    driver.rest(0.5)
    driver.show(widget, widget.files)
    driver.shoot("batch-3-files")
    driver.close()


def _prompt_file(images: np.ndarray, masks: np.ndarray, where: dict[str, Any]) -> Path:
    """The one that was trained in the other pictures, or a new one."""
    path = Path("nuclei.pt")
    if not path.exists():
        from dataclasses import replace

        import napari_ptsam as ptsam
        from napari_ptsam.images.planes import PixelSize

        prompt = ptsam.train(list(images), list(masks), seed=0)
        prompt = replace(prompt, pixel_size=PixelSize(*where["scale"][1:]))
        prompt.with_text("Nuclei of U2OS cells, Hoechst.", "CC0").save(path)
    return path


# Images


def _nuclei(data: str) -> tuple[str, np.ndarray, np.ndarray, dict[str, Any]]:
    import tifffile

    folder = Path(data, "bbbc039_nuclei", "train")
    images, masks = (
        np.stack([tifffile.imread(path) for path in sorted((folder / kind).iterdir())])
        for kind in ("images", "masks")
    )
    where = {
        "scale": (1.0, PIXEL_SIZE, PIXEL_SIZE),
        "units": ("pixel", "micrometer", "micrometer"),
        "axis_labels": ("image", "y", "x"),
    }
    return "nuclei", images, masks, where


def _sample() -> tuple[str, np.ndarray, np.ndarray, dict[str, Any]]:
    from napari_ptsam.datasets.sample import PIXEL_SIZE, SPACING, make_sample

    sample = make_sample()
    where = {
        "scale": (SPACING, PIXEL_SIZE, PIXEL_SIZE),
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    return "cells", sample.images, sample.instances, where


def _limits(images: np.ndarray) -> list[float]:
    low, high = np.percentile(images[:, ::2, ::2], (0.5, 99.5))
    return [float(low), float(high)]


def _middles(mask: np.ndarray, count: int) -> list[tuple[float, float]]:
    """Points inside the largest objects, where a person would click."""
    from scipy import ndimage

    values, sizes = np.unique(mask[mask > 0], return_counts=True)
    points = []
    for value in values[np.argsort(-sizes)][:count]:
        depth = ndimage.distance_transform_edt(mask == value)
        y, x = np.unravel_index(depth.argmax(), mask.shape)
        points.append((float(y), float(x)))
    return points


class Driver:
    """A window and somebody in front of it.

    Parameters
    ----------
    sessions
        Folder for session folders.
    out
        Where pictures go.
    """

    def __init__(self, sessions: str, out: Path) -> None:
        os.environ["NAPARI_PTSAM_SESSIONS"] = sessions
        import napari

        self.viewer = napari.Viewer()
        self.viewer.window.resize(*SIZE)
        self._out = out
        self.rest(1)

    def dock(self, name: str = "Annotate and train") -> Any:
        """Open a widget from its menu, and wait for the backbone if it is loaded for an image."""
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-ptsam", name)
        if name == "Annotate and train" and self.viewer.layers:
            self.wait(
                lambda: widget.session_model.backbone_service.state.startswith("Ready"),
                "the backbone",
            )
        self.rest(1)
        return widget

    def show(self, widget: Any, part: Any) -> None:
        """Scroll a form to a part of it."""
        from qtpy.QtWidgets import QScrollArea

        self.rest(0.2)
        widget.findChild(QScrollArea).ensureWidgetVisible(part, 0, 20)

    def rest(self, seconds: float) -> None:
        """Let the window live."""
        from qtpy.QtWidgets import QApplication

        end = perf_counter() + seconds
        while perf_counter() < end:
            QApplication.processEvents()
            sleep(0.005)  # the work behind the window gives way to it

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        """Until something has happened."""
        end = perf_counter() + LONG
        while not happened():
            if perf_counter() > end:
                raise TimeoutError(f"waited in vain for {what}")
            self.rest(0.05)

    def go(self, source: Any, number: int) -> None:
        """Show a plane."""
        from napari_ptsam.widgets.shared.view import go_to_plane

        go_to_plane(self.viewer, source.layer, source.planes, number)

    def paint(self, labels: Any, number: int, mask: np.ndarray) -> None:
        """Fill a plane of an annotation layer."""
        rows, columns = np.nonzero(mask)
        values = mask[rows, columns].astype(labels.data.dtype)
        labels.data_setitem((np.full(len(rows), number), rows, columns), values)

    def scribble(self, labels: Any, number: int, image: np.ndarray, cells: np.ndarray) -> None:
        """A few strokes with the brush on the background, cells and debris."""
        from scipy import ndimage

        bright = ndimage.gaussian_filter(image.astype(float), 3)
        found = bright > (bright[cells].mean() + np.median(bright)) / 2
        debris = found & ~ndimage.binary_dilation(cells, iterations=6)
        background = ~ndimage.binary_dilation(found | cells, iterations=8)
        for region, label, strokes in ((background, 1, 4), (cells, 2, 5), (debris, 3, 4)):
            for stroke in _strokes(region, strokes):
                for (y0, x0), (y1, x1) in itertools.pairwise(stroke):
                    steps = int(max(abs(y1 - y0), abs(x1 - x0), 1))
                    for part in np.linspace(0, 1, steps, endpoint=False):
                        at = (number, y0 + part * (y1 - y0), x0 + part * (x1 - x0))
                        labels.brush_size = 6 if label != 3 else 4
                        labels.paint(at, label, refresh=False)
        labels.refresh()

    def shoot(self, name: str) -> None:
        """Take a picture of the window, without notifications over it."""
        from qtpy.QtWidgets import QApplication

        self.viewer.reset_view()
        self.rest(1.5)
        for shown in QApplication.allWidgets():
            if type(shown).__name__ == "NapariQtNotification":  # a private class of napari's
                shown.close()
        self.rest(0.5)
        pixels = self.viewer.screenshot(canvas_only=False, flash=False)[..., :3]
        write(Image.fromarray(np.ascontiguousarray(pixels)), self._out / f"{name}.png")

    def close(self) -> None:
        """As a user closes napari."""
        self.viewer.close()
        self.rest(1)


def write(picture: Image.Image, path: Path) -> None:
    """Write a small PNG."""
    small = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    path.write_bytes(written.getvalue())
    print(f"{path.name}: {picture.size}, {path.stat().st_size / 1000:.0f} KB", flush=True)


def _strokes(region: np.ndarray, count: int) -> list[list[tuple[float, float]]]:
    """Lines along the middles of the largest parts of a region."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    strokes = []
    for _ in range(count):
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        reach = depth[y, x]
        if reach < 2:
            break
        half = min(0.6 * reach, 60.0)
        bow = np.linspace(-1, 1, 9)
        strokes.append([(y + 0.35 * half * (b * b - 0.5), x + half * b) for b in bow])
        rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
        depth[(rows - y) ** 2 + (columns - x) ** 2 < (1.3 * reach + 20) ** 2] = 0
    return strokes


if __name__ == "__main__":
    main()
