"""Fonts and tooltips of the plugin's windows, set in one place."""

from __future__ import annotations

from html import escape

from napari.settings import get_settings
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QAbstractItemView, QLabel, QTabBar, QToolTip, QWidget

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
    """Show the tooltips of a window in several lines.

    Qt wraps rich text only. Labels of fields show the tooltips of the fields.
    """

    def __init__(self, root: QWidget) -> None:
        super().__init__(root)
        self._root = root

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Show tooltips in place of the widgets; find the widgets when the window is shown."""
        if event is None or not isinstance(watched, QWidget):
            return False
        if event.type() == QEvent.Type.Show and watched is self._root:
            self._find_widgets()
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = tooltip_at(watched, event)
            if text:
                QToolTip.showText(event.globalPos(), wrapped(text), watched)
                return True
        return False

    def _find_widgets(self) -> None:
        for widget in self._root.findChildren(QWidget):
            is_viewport = isinstance(widget.parentWidget(), QAbstractItemView)
            has_buddy = isinstance(widget, QLabel) and widget.buddy() is not None
            if is_viewport or has_buddy or widget.toolTip() or isinstance(widget, QTabBar):
                widget.removeEventFilter(self)
                widget.installEventFilter(self)


def tooltip_at(widget: QWidget, event: QHelpEvent) -> str:
    """Return the tooltip of a widget, or of the item at the position of an event."""
    view = widget.parentWidget()
    if isinstance(view, QAbstractItemView) and widget is view.viewport():
        item = view.indexAt(event.pos()).data(Qt.ItemDataRole.ToolTipRole)
        return str(item) if item else view.toolTip()
    if isinstance(widget, QTabBar):
        return widget.tabToolTip(widget.tabAt(event.pos())) or widget.toolTip()
    if isinstance(widget, QLabel) and not widget.toolTip():
        buddy = widget.buddy()
        return "" if buddy is None else buddy.toolTip()
    return widget.toolTip()


def wrapped(text: str) -> str:
    """Return a tooltip as rich text, which Qt wraps; rich text stays as it is."""
    if text.startswith("<"):
        return text
    return f"<qt>{escape(text)}</qt>".replace("\n", "<br>")
