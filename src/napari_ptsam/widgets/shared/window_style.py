"""Fonts and tooltips of the plugin's windows, set in one place."""

from __future__ import annotations

from html import escape
from textwrap import TextWrapper

from napari.settings import get_settings
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QLabel, QTabBar, QWidget

COLUMNS = 60
"""Largest number of characters in a line of a tooltip."""
UNSTYLED = (
    "QAbstractItemView", "QHeaderView", "QHeaderView::section", "QLineEdit", "QPlainTextEdit",
    "QProgressBar", "QTabBar", "QToolButton",
)  # fmt: skip
"""Kinds of widgets to which napari's style gives no size of the font."""


def adopt_style(root: QWidget) -> None:
    """Let a dock or dialog follow napari's size of the font, and wrap its tooltips.

    Parameters
    ----------
    root
        The dock or dialog. Widgets that it gets later are included when it is shown again.
    """
    root.installEventFilter(_FontSize(root))
    root.installEventFilter(_Tooltips(root))


class _FontSize(QObject):
    """Give the size of napari's font to widgets that napari's own style leaves out."""

    def __init__(self, root: QWidget) -> None:
        super().__init__(root)
        self._root, self._size = root, 0
        self._update()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Update the style when napari's style changes."""
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.Show):
            self._update()
        return False

    def _update(self) -> None:
        size = get_settings().appearance.font_size
        if size != self._size:
            self._size = size
            self._root.setStyleSheet(f"{', '.join(UNSTYLED)} {{ font-size: {size}pt; }}")


class _Tooltips(QObject):
    """Wrap the tooltips of a window each time that it is shown.

    Qt wraps rich text only, into narrow columns. Labels of fields get the tooltips of the fields.
    (A filter for the tooltip events of all widgets would make each of their events wait for
    Python's lock.)
    """

    def __init__(self, root: QWidget) -> None:
        super().__init__(root)
        self._root = root

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Wrap the tooltips before the window is shown."""
        if event is not None and event.type() == QEvent.Type.Show:
            wrap_tooltips(self._root)
        return False


def wrap_tooltips(root: QWidget) -> None:
    """Wrap the tooltips of all widgets in a window."""
    for widget in root.findChildren(QWidget):
        tip = widget.toolTip()
        if not tip and isinstance(widget, QLabel):
            buddy = widget.buddy()
            tip = "" if buddy is None else buddy.toolTip()
        if tip:
            widget.setToolTip(wrapped(tip))
        if isinstance(widget, QTabBar):
            for tab in range(widget.count()):
                widget.setTabToolTip(tab, wrapped(widget.tabToolTip(tab)))


def wrapped(text: str) -> str:
    """Return a tooltip in lines of `COLUMNS` characters; rich text stays as it is."""
    if not text or text.startswith("<"):
        return text
    wrapper = TextWrapper(COLUMNS, break_long_words=False, break_on_hyphens=False)  # keeps paths
    lines = [line for part in text.splitlines() for line in wrapper.wrap(part) or [""]]
    # As rich text, so that Qt takes no part of it for a tag.
    return f"<p style='white-space:pre'>{'<br>'.join(map(escape, lines))}</p>"
