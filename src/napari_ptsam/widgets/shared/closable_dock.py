"""The base class of the docks, which stop their work when they are closed."""

from __future__ import annotations

from typing import ClassVar

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.window_style import adopt_style

CLOSE_TIMEOUT = 15.0
"""Seconds that napari waits for threads when its window is closed and already hidden. Most end within
a second, but an import of torch cannot be stopped."""


class ClosableDock(QWidget):
    """A widget that stops its work once, however it is closed.

    It may be closed by itself, with its dock, or with napari's window.
    """

    TITLE: ClassVar[str] = ""
    """Name of the dock in napari's menus."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = self._closing = self._docked = False
        self._window: QMainWindow | None = None
        adopt_style(self)

    @property
    def closed(self) -> bool:
        """Whether the work has been stopped."""
        return self._closed

    def close_down(self, timeout: float = 0.0) -> None:
        """Stop all work; a second call does nothing.

        Parameters
        ----------
        timeout
            Seconds to wait for threads, which must not outlive napari.
        """
        if self._closed:
            return
        self._closed = True
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self._end_work(timeout)

    def _end_work(self, timeout: float) -> None:
        """Stop the work of this widget; called once by `close_down`."""

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """Stop the work when the widget is closed by itself, for instance without a dock."""
        self.close_down()
        super().closeEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Find the window of the widget, and stop the work when its dock is removed."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._docked = True
                # The dock itself gets its parent only after this event.
                QTimer.singleShot(0, self._watch_window)
            elif self._docked:
                self.close_down()
        return super().event(event)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, Qt's name
        """Find the window of the widget, in which the dock is only now."""
        self._watch_window()
        super().showEvent(event)

    def _watch_window(self) -> None:
        window = self.parentWidget()
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and window is not self._window and not self._closed:
            self._window = window
            window.installEventFilter(self)
            own = self.parentWidget()
            if self.TITLE and isinstance(own, QDockWidget):
                own.setWindowTitle(self.TITLE)  # napari's name with the plugin is cut off on a tab
            self._join_tabs(window)

    def _join_tabs(self, window: QMainWindow) -> None:
        """Lay the dock over another one of the plugin, since a laptop has no room for both."""
        own = self.parentWidget()
        if not isinstance(own, QDockWidget) or own.isFloating():
            return
        for other in window.findChildren(ClosableDock):
            dock = other.parentWidget()
            if other is self or other.closed:
                continue
            if not isinstance(dock, QDockWidget) or dock.isFloating():
                continue
            area = window.dockWidgetArea(own)
            if window.dockWidgetArea(dock) == area and dock not in window.tabifiedDockWidgets(own):
                window.tabifyDockWidget(dock, own)
                # Only when napari has laid out the new dock can it come to the front.
                to_front = single_shot(self, 0)
                to_front.timeout.connect(own.raise_)
                to_front.start()
            return

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Stop the work when the window is hidden after a request to close it.

        The request alone is not enough, since it may be refused.
        """
        if self._window is not None and watched is self._window and event is not None:
            if event.type() == QEvent.Type.Close and self._window.isVisible():
                self._closing = True
                QTimer.singleShot(0, self._reset_closing)
            elif event.type() == QEvent.Type.Close or (
                event.type() == QEvent.Type.Hide and self._closing
            ):
                self.close_down(CLOSE_TIMEOUT)
        return super().eventFilter(watched, event)

    def _reset_closing(self) -> None:
        self._closing = False
