"""Take the pictures of docs/backbones.md and docs/sharing.md, on the bundled sample.

scripts/with_display.sh python scripts/screenshots_sharing.py [OUT]
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from screenshots import IMAGES, Driver, write

STEPS = 80


def main() -> None:
    out = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        for name in ("SESSIONS", "PROMPTS", "CACHE"):
            os.environ[f"NAPARI_PTSAM_{name}"] = f"{folder}/{name.lower()}"
        os.environ["NAPARI_PTSAM_BACKBONES"] = "backbones"  # no path of this machine in the picture
        os.environ["NAPARI_CONFIG"] = f"{folder}/settings.yaml"
        os.environ["XDG_CONFIG_HOME"] = folder
        _fill_library()
        driver = Driver(f"{folder}/sessions", out)
        widget = driver.dock("Batch segment")
        widget.backbone_service.load()
        driver.wait(lambda: widget.backbone_service.state.startswith("Ready"), "the backbone")
        widget.backbone.open("vit_b_lm")
        dialog = widget.backbone.dialog
        driver.wait(lambda: bool(widget.backbone_service.recommended), "the recommendation")
        driver.rest(1)
        write(_picture(dialog), out / "backbones.png")
        dialog.close()
        widget.prompts.library.click()
        library = widget.prompts.library.dialog
        driver.wait(lambda: library.library_list.list.count() == 4, "the prompts")
        driver.rest(1)
        write(_picture(library), out / "library.png")
        driver.close()


def _picture(dialog: Any) -> Image.Image:
    from qtpy.QtGui import QImage

    image = dialog.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8)
    rows = rows.reshape(image.height(), image.bytesPerLine())[:, : 3 * image.width()]
    return Image.fromarray(rows.reshape(image.height(), image.width(), 3).copy())


def _fill_library() -> None:
    """Prompts of cells and debris, and what can be made of them."""
    import napari_ptsam as ptsam
    from napari_ptsam.datasets.sample import make_sample
    from napari_ptsam.prompts.library import put
    from napari_ptsam.prompts.merging import merge

    sample = make_sample()
    images = list(sample.images[:6])
    cells = ptsam.train(
        images, list(sample.instances[:6]), steps=STEPS, embeddings=8, tile="whole", markers="no"
    )
    cells = replace(cells, classes=("cell",), author="Ada Lovelace", licence="CC-BY-4.0")
    debris = replace(cells, tokens=cells.tokens[:, ::-1].copy(), classes=("debris",), thumbnail=b"")
    put(cells.with_text(notes="Spinning disk, 40x, stained with Hoechst."), "Cells on plate 3")
    put(cells.with_text(author="Rosalind Franklin"), "Cells on plate 7")
    put(debris, "Debris")
    put(merge([cells, debris]), "Cells and debris")


if __name__ == "__main__":
    main()
