"""The tools, keys and gestures of the dock, in one table for tooltips, keys and the card."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """Something that a key does.

    Attributes
    ----------
    name
        Name in the code.
    label
        What it is called.
    key
        Key in napari's notation; empty if a command of napari has a key.
    command
        That command, whose key may be changed in napari's preferences.
    tip
        What a tool does, in a sentence or two.
    """

    name: str
    label: str
    key: str = ""
    command: str = ""
    tip: str = ""


TOOLS = (
    Action(
        "click", "Click objects", "Q",
        tip="While this is on, a click on an object paints it. Click again on it to refine it. "
        "Ctrl+click: take away what does not belong to the last object. Shift+drag: a box.",
    ),
    Action("box", "Box", "W", tip="Drag a box around an object to paint it. Clicks refine it."),
    Action(
        "add", "Add a missed part", "A",
        tip="Click on a part that an object lacks: it is added to that object, or to the nearest "
        "one.",
    ),
    Action("erase", "Erase an object", "D", tip="Click on an object to erase it."),
    Action(
        "merge", "Merge objects", "G",
        tip="Click on one object, then on another, or drag a stroke from one over others: they "
        "become one object.",
    ),
    Action(
        "split", "Split an object", "S",
        tip="Drag a stroke across an object: the two sides become objects of their own.",
    ),
    Action(
        "brush", "Brush", command="napari:activate_labels_paint_mode",
        tip="Paint on the annotation layer with napari's brush.",
    ),
    Action(
        "eraser", "Eraser", command="napari:activate_labels_erase_mode",
        tip="Erase pixels of the annotation layer with napari's eraser.",
    ),
    Action(
        "ignore", "Ignore", "I",
        tip="Paint pixels that are neither object nor background: unsure, blurred or cut-off "
        "objects. Training and scores leave them out. They are shown in grey.",
    ),
    Action(
        "region", "Region", "K",
        tip="For large images: drag a box in which you annotate everything. Nothing outside of it "
        "counts. Click in a box to remove it.",
    ),
    Action(
        "new", "New label", command="napari:new_label",
        tip="Paint the next object by hand, with a label that is not used yet.",
    ),
)  # fmt: skip
"""The buttons of the tool row, in their order."""

STEPS = (
    Action("outline", "Another outline for the last click", "R"),
    Action("suggest", "Suggest a plane", "N"),
    Action("done", "Plane is done, go to the next", "Shift-N"),
    Action("take", "Take the prediction", "T"),
    Action("prediction", "Hide or show the prediction", "H"),
    Action("annotation", "Hide or show the annotation", "J"),
    Action("contour", "Prediction as outlines or filled", "U"),
    Action("card", "Show or close this card", "F1"),
)
"""Other keys."""

ACTIONS = (*TOOLS, *STEPS)

GESTURES = (
    ("Click", "Use the chosen tool"),
    ("Click again", "Refine the last object"),
    ("Ctrl+click", "Take a part away (or Alt+click)"),
    ("Shift+drag", "Paint the object in the box"),
    ("Drag", "Move the view, or draw for the tool"),
    ("Scroll", "Zoom"),
    ("Ctrl+Z", "Undo the last edit"),
    ("Same key", "Put the tool away again"),
)
"""What the mouse does, for the card."""


def with_key(tip: str, key: str) -> str:
    """Add a key to a tooltip, if there is one."""
    return f"{tip} Key: {key}." if key else tip
