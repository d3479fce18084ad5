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
    tip
        What it does, in a sentence or two.
    key
        Key in napari's notation; empty if a command of napari has a key.
    command
        That command, whose key may be changed in napari's preferences.
    """

    name: str
    label: str
    tip: str
    key: str = ""
    command: str = ""


TOOLS = (
    Action(
        "click", "Click objects",
        "While this is on, a click on an object paints it. Click again on it to refine it. "
        "Ctrl+click: take away what does not belong to the last object. Shift+drag: a box.",
        "Q",
    ),
    Action(
        "box", "Box", "Drag a box around an object to paint it. Clicks then refine it.", "W",
    ),
    Action(
        "add", "Add a missed part",
        "Click on a part that an object lacks: it is added to that object, or to the nearest one.",
        "A",
    ),
    Action("erase", "Erase an object", "Click on an object to erase it.", "D"),
    Action(
        "merge", "Merge objects",
        "Click on one object, then on another, or drag a stroke from one over others: they become "
        "one object.",
        "G",
    ),
    Action(
        "split", "Split an object",
        "Drag a stroke across an object: the two sides become objects of their own.",
        "S",
    ),
    Action(
        "brush", "Brush", "Paint on the annotation layer with napari's brush.",
        command="napari:activate_labels_paint_mode",
    ),
    Action(
        "eraser", "Eraser", "Erase pixels of the annotation layer with napari's eraser.",
        command="napari:activate_labels_erase_mode",
    ),
    Action(
        "new", "New label", "Paint the next object by hand, with a label that is not used yet.",
        command="napari:new_label",
    ),
)  # fmt: skip
"""The buttons of the tool row, in their order."""

STEPS = (
    Action("outline", "Other outline", "Show the next outline that the last click may mean.", "R"),
    Action("suggest", "Suggest a plane", "Go to the plane to annotate next.", "N"),
    Action(
        "done", "Done, next plane", "Mark the plane as done, and go to the next one.", "Shift-N"
    ),
    Action(
        "take",
        "Take the prediction",
        "Copy the prediction for this plane into the annotation.",
        "T",
    ),
    Action("prediction", "Prediction", "Hide or show the prediction.", "H"),
    Action("annotation", "Annotation", "Hide or show the annotation.", "J"),
    Action("contour", "Outlines", "Draw the prediction as outlines or filled.", "U"),
    Action("card", "Keys", "Show or close this card.", "F1"),
)
"""Other keys."""

ACTIONS = (*TOOLS, *STEPS)

GESTURES = (
    ("Click", "Paint the object, or use the chosen tool"),
    ("Click again on it", "Refine the last object"),
    ("Ctrl+click, Alt+click", "Take a part away from the last object"),
    ("Shift+drag", "Paint the object in the box"),
    ("Drag", "Move the view; with Box, Split and Merge: a box or a stroke"),
    ("Scroll", "Zoom"),
    ("Ctrl+Z", "Undo the last object, edit or stroke"),
    ("A tool's key again", "Put the tool away"),
)
"""What the mouse does, for the card."""


def with_key(tip: str, key: str) -> str:
    """Add a key to a tooltip, if there is one."""
    return f"{tip} Key: {key}." if key else tip
