"""A dock widget that notices its end, and ends its work with it."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QMainWindow, QWidget

WAIT = 15.0
"""Seconds that closing napari waits for threads, out of sight: mostly they end within one, but torch
cannot be stopped while it is imported."""


class DockWidget(QWidget):
    """Closed down once, however it ends: by itself, with its dock, or with napari's window."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = self._closing = self._docked = False
        self._window: QMainWindow | None = None

    def close_down(self, wait: float = 0.0) -> None:
        """End all work, once.

        Parameters
        ----------
        wait
            Seconds to wait for threads to end: when napari itself goes away,
            they must not outlive it.
        """
        if self._closed:
            return
        self._closed = True
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self._end_work(wait)

    def _end_work(self, wait: float) -> None:
        """What `close_down` does in this widget; nothing in one without work."""

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """Closed by itself, as in a script that shows it without a dock."""
        self.close_down()
        super().closeEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Notice in which window the widget is, and when napari takes it out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._docked = True
                # The dock itself is put into the window only after this.
                QTimer.singleShot(0, self._watch_window)
            elif self._docked:
                self.close_down()
        return super().event(event)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, Qt's name
        """The dock has its place in the window only now."""
        self._watch_window()
        super().showEvent(event)

    def _watch_window(self) -> None:
        window = self.parentWidget()
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and window is not self._window and not self._closed:
            self._window = window
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """The window is closed when it is hidden after a request to close, which may be denied."""
        if self._window is not None and watched is self._window and event is not None:
            if event.type() == QEvent.Type.Close and self._window.isVisible():
                self._closing = True
                QTimer.singleShot(0, self._not_closing)
            elif event.type() == QEvent.Type.Close or (
                event.type() == QEvent.Type.Hide and self._closing
            ):
                self.close_down(WAIT)
        return super().eventFilter(watched, event)

    def _not_closing(self) -> None:
        self._closing = False
