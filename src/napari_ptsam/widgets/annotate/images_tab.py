"""The first tab: choose images, and the layer that annotates each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Shapes
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.widgets.annotate.channels_row import ChannelsRow
from napari_ptsam.widgets.annotate.mask_taker import MaskTaker
from napari_ptsam.widgets.annotate.planes_table import BOXES
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW
from napari_ptsam.widgets.annotate.shapes_annotation import ShapesAnnotation
from napari_ptsam.widgets.shared.combined_channels import combine_channels
from napari_ptsam.widgets.shared.folders import NOTES, read_folder
from napari_ptsam.widgets.shared.layers import (
    fits,
    guess_channel_axis,
    image_layers,
    image_planes,
    in_words,
    is_displaced,
    without_channels,
)
from napari_ptsam.widgets.shared.qt_helpers import (
    NameBox,
    ScrollingColumn,
    button,
    not_none,
    plain_tip,
    row,
    single_shot,
    text_label,
)
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.view import show_one_at_a_time

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

IMAGE, READ_AS, ANNOTATION = range(3)
NONE = "none yet"
FROM_FILE = "From a file…"
MOST_NOTES = 3
"""Largest number of sentences about how files were read that are shown at once."""
ANNOTATION_FILES = "Masks and outlined objects (*.tif *.tiff *.png *.npy *.zip *.roi *.json *.geojson);;All files (*)"


class ImagesTab(ScrollingColumn):
    """A table of the viewer's Image layers; the ticked ones are used."""

    open_session = Signal()
    choose_root = Signal()

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self.shapes = ShapesAnnotation(session_model)
        self.masks = MaskTaker(session_model, self)
        self._filling = False
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Image", "Read as", "Annotation layer"])
        self.table.setToolTip(
            "Tick the images to learn from. An existing Labels layer can be used as "
            "annotation, if it has the size of the image; so can the shapes of a Shapes layer."
        )
        self.table.setStyleSheet(BOXES)
        not_none(self.table.verticalHeader()).hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        header = not_none(self.table.horizontalHeader())
        for column in range(3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(READ_AS, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.itemChanged.connect(self._ticked)
        self.table.itemSelectionChanged.connect(self._show_channels)
        self.column.addWidget(
            text_label(
                "Tick the images to learn from: planes, stacks or time series. Training makes a "
                "prompt from them, a small file that finds the same kind of object in other images."
            )
        )
        self.column.addWidget(self.table, 1)
        self.column.addLayout(
            row(
                button("All", "Use all images of the viewer.", lambda: self._tick_all(True)),
                button("None", "Use no image.", lambda: self._tick_all(False)),
                button(
                    "Open a folder…",
                    "Open all images of a folder: as one stack if they have the same size, else "
                    "as separate layers.",
                    self._choose_folder,
                ),
                button(
                    "Combine channels",
                    "Make one image of the two or three ticked images, which are its channels.",
                    self._combine,
                ),
                stretch=2,
            )
        )
        self.channels = ChannelsRow(session_model)
        self.channels.usable.connect(self._use_too)
        self.column.addWidget(self.channels)
        self.column.addLayout(
            row(
                button(
                    "Open a session…",
                    "Continue with annotations that were saved in a session folder.",
                    self.open_session.emit,
                ),
                button(
                    "Session folder…",
                    "Choose the folder in which annotations, settings and prompts are saved while "
                    "you work.",
                    self.choose_root.emit,
                ),
                stretch=1,
            )
        )
        layers = session_model.viewer.layers
        self._soon = single_shot(self, 30)
        self._soon.timeout.connect(self.refresh)
        self._emitters = (layers.events.inserted, layers.events.removed, layers.events.reordered)
        for emitter in self._emitters:
            emitter.connect(self._later)
        session_model.images_changed.connect(self._soon.start)
        self._use_open_image()
        self.refresh()

    # The table of layers

    def _later(self, event: object = None) -> None:
        self._soon.start()

    def _layers(self) -> list[Image]:
        return image_layers(self._session_model.viewer)

    def _use_open_image(self) -> None:
        """Use the active image or, if none is active, the topmost one."""
        layers = self._layers()
        active = self._session_model.viewer.layers.selection.active
        first = [layer for layer in layers if layer is active] or layers[-1:]
        self._use(first, quietly=True)

    def refresh(self) -> None:
        """Fill the table."""
        layers, used = (
            self._layers(),
            {id(image.layer): image for image in self._session_model.images},
        )
        if not used and len(layers) == 1 and not self._filling and self.table.rowCount() == 0:
            self._use(layers, quietly=True)
            used = {id(image.layer): image for image in self._session_model.images}
        self._filling = True
        chosen = self.table.currentRow()
        self.table.setRowCount(len(layers))
        before: QWidget = self.table
        for position, layer in enumerate(layers):
            image = used.get(id(layer))
            name = QTableWidgetItem(layer.name)
            name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            name.setCheckState(Qt.CheckState.Checked if image else Qt.CheckState.Unchecked)
            name.setToolTip(plain_tip(layer.name))
            name.setData(Qt.ItemDataRole.UserRole, position)
            self.table.setItem(position, IMAGE, name)
            read_as, exactly = _read_as(layer, image)
            item = QTableWidgetItem(read_as)
            item.setToolTip(exactly)
            self.table.setItem(position, READ_AS, item)
            box = self._annotation_box(image) if image else None
            self.table.setCellWidget(position, ANNOTATION, box)
            if box is not None:  # the Tab key moves from row to row
                self.setTabOrder(before, box)
                before = box
        self.table.setCurrentCell(min(max(chosen, 0), len(layers) - 1), IMAGE)
        self._filling = False
        self._show_channels()

    def _annotation_box(self, image: AnnotatedImage) -> QComboBox:
        box = NameBox()
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        box.setToolTip(plain_tip(f"The Labels layer that annotates {image.layer.name}."))
        box.addItem(NONE, None)
        for layer in self._session_model.viewer.layers:
            if isinstance(layer, Labels) and layer.name != PREVIEW:
                box.addItem(layer.name, layer)
                if layer is image.labels:
                    box.setCurrentIndex(box.count() - 1)
            elif isinstance(layer, Shapes):
                box.addItem(f"{layer.name} (shapes)", layer)
        box.addItem(FROM_FILE, FROM_FILE)
        box.setItemData(
            box.count() - 1,
            "Masks, or objects that were outlined in ImageJ, LabelMe, COCO, QuPath or Cellpose.",
            Qt.ItemDataRole.ToolTipRole,
        )
        box.activated.connect(partial(self._chosen, box, image))
        return box

    def _chosen(self, box: QComboBox, image: AnnotatedImage, position: int = 0) -> None:
        labels = box.currentData()
        if isinstance(labels, str):  # FROM_FILE
            self._soon.start()  # the box shows the layer in use again
            self._choose_annotation(image)
            return
        if isinstance(labels, Shapes):
            self._soon.start()
            self.shapes.annotate(image, labels)
            return
        try:
            self._session_model.attach(image, labels)
        except InputError as error:
            show_warning(in_form(error))
            self._soon.start()
            return
        self.masks.look_at(image)
        if labels is not None and is_displaced(labels, image.layer):
            show_warning(
                f"The labels {labels.name} lie elsewhere than {image.layer.name} (their scale is "
                f"{_numbers(labels.scale)}, the image's {_numbers(image.layer.scale)}); their "
                "pixels are matched one to one. Give both layers the same scale to see them together."
            )

    def _choose_annotation(self, image: AnnotatedImage) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, f"Annotation of {image.layer.name}", filter=ANNOTATION_FILES
        )
        if chosen:
            self.open_annotation(image, Path(chosen))

    def open_annotation(self, image: AnnotatedImage, path: Path) -> None:
        """Annotate an image with a file of masks or of outlined objects, in a layer of its own."""
        self.masks.open_file(image, path)

    # Use of layers

    def _ticked(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != IMAGE:
            return
        layers = self._layers()
        ticked = [
            layers[position]
            for position in range(min(len(layers), self.table.rowCount()))
            if not_none(self.table.item(position, IMAGE)).checkState() == Qt.CheckState.Checked
        ]
        self._use(ticked)

    def _combine(self) -> None:
        session_model = self._session_model
        images = list(session_model.images)
        try:
            combined = combine_channels(session_model.viewer, [image.layer for image in images])
        except InputError as error:
            show_warning(in_form(error))
            return
        labels = [image.labels for image in images if image.labels is not None]
        self._use([combined])
        (image,) = session_model.images
        if len(labels) == 1 and image.labels is None:  # it annotates the same pixels
            session_model.attach(image, labels[0])

    def _tick_all(self, ticked: bool) -> None:
        self._use(without_channels(self._layers()) if ticked else [])

    def _use(self, layers: list[Image], quietly: bool = False) -> None:
        """Use these layers, except those that cannot be read."""
        usable = []
        for layer in layers:
            known = any(image.layer is layer for image in self._session_model.images)
            try:
                if not known:
                    image_planes(layer, guess_channel_axis(layer))
                usable.append(layer)
            except PtsamError as error:
                if not quietly:
                    show_warning(in_form(error))
        self._session_model.use_images(usable)
        for image in self._session_model.images:
            self._take_annotation(image)
        self._soon.start()

    def _take_annotation(self, image: AnnotatedImage) -> None:
        """Use a visible Labels layer that is named after the image, if there is exactly one."""
        if image.labels is not None:
            return
        candidates = [
            layer
            for layer in self._session_model.viewer.layers
            if isinstance(layer, Labels)
            and layer.visible
            and layer.name.startswith(f"{image.layer.name} annotation")
            and fits(layer, image.planes)
        ]
        if len(candidates) == 1:
            self._session_model.attach(image, candidates[0])
            self.masks.look_at(image)

    def _show_channels(self) -> None:
        layers, position = self._layers(), self.table.currentRow()
        layer = layers[position] if 0 <= position < len(layers) else None
        image = next((i for i in self._session_model.images if i.layer is layer), None)
        self.channels.show_layer(layer, image)

    def _use_too(self, layer: Image) -> None:
        self._use([*(image.layer for image in self._session_model.images), layer])

    # Folders

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        if chosen:
            self.open_folder(Path(chosen))

    def open_folder(self, folder: Path) -> None:
        """Open all images of a folder as layers, and use them."""
        self._session_model.disk.submit("folder", partial(read_folder, folder), self._add_images)

    def _add_images(self, images: list[dict[str, Any]]) -> None:
        added = [self._session_model.viewer.add_image(**keywords) for keywords in images]
        if notes := [note for keywords in images for note in keywords["metadata"].get(NOTES, ())]:
            more = f"\n… and {len(notes) - MOST_NOTES} more." if len(notes) > MOST_NOTES else ""
            show_info("\n".join(notes[:MOST_NOTES]) + more)
        show_one_at_a_time(added)
        self._use([*(image.layer for image in self._session_model.images), *added])

    def close_tab(self) -> None:
        """Disconnect from the viewer."""
        self._soon.stop()
        self.shapes.close()
        self.masks.close()
        for emitter in self._emitters:
            emitter.disconnect(self._later)


def _read_as(layer: Image, image: AnnotatedImage | None) -> tuple[str, str]:
    """Return how a layer is read, as a short and as an exact description."""
    try:
        planes = image.planes if image else image_planes(layer, guess_channel_axis(layer))
    except PtsamError as error:
        return "cannot be used", in_form(error)
    return in_words(planes)


def _numbers(values: Any) -> str:
    return " x ".join(f"{value:g}" for value in values)
