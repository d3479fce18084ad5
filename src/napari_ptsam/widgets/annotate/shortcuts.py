"""Bind the keys of the dock while it is open, and show them on a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QShortcut, QVBoxLayout, QWidget

from napari_ptsam.widgets.annotate.tool_table import ACTIONS, GESTURES, Action
from napari_ptsam.widgets.shared.layers import without_proxy

if TYPE_CHECKING:
    import napari


class Shortcuts(QObject):
    """Bind keys to actions in a viewer and in the dock.

    Keys that napari, the user or another plugin has bound in the viewer or for
    Image and Labels layers are left alone. The keys of the active layer come
    first anyway, as napari looks keys up there before it asks the viewer.

    Parameters
    ----------
    viewer
        The viewer.
    dock
        Widget in which the keys work too, except in its text fields.
    handlers
        Functions by the names of their actions in the tool table.

    Attributes
    ----------
    keys
        Keys that work, as text, by the names of their actions.
    """

    def __init__(
        self, viewer: napari.Viewer, dock: QWidget, handlers: Mapping[str, Callable[[], object]]
    ) -> None:
        super().__init__(dock)
        # At every access to the keymap, the proxy of a plugin's viewer would show a warning.
        self._viewer = without_proxy(viewer)
        self._dock = dock
        self._bound: list[tuple[Any, Callable[..., None]]] = []
        self._shortcuts: list[QShortcut] = []
        self._card: KeyCard | None = None
        self.keys: dict[str, str] = {}
        for action in ACTIONS:
            handler = self.show_card if action.name == "card" else handlers.get(action.name)
            if handler is not None:
                self._bind(action, handler)

    def _bind(self, action: Action, handler: Callable[[], object]) -> None:
        if action.command:
            # The command acts on an active Labels layer; otherwise the key finds the annotation.
            keys = [coerce_keybinding(key) for key in _keys_of_command(action.command)]
            self.keys[action.name] = " or ".join(map(str, keys))
            taken = _keymaps(type(self._viewer), Image)
        else:
            keys = [coerce_keybinding(action.key)]
            taken = _keymaps(type(self._viewer), Image, Labels)
        for key in keys:
            if key in self._viewer.keymap or any(key in keymap for keymap in taken):
                continue

            def pressed(viewer: Any) -> None:
                handler()

            self._viewer.bind_key(key, pressed)
            self._bound.append((key, pressed))
            if not action.command:
                self.keys[action.name] = str(key).replace("Ctrl", "Control")
                self._add_shortcut(str(key), handler)

    def _add_shortcut(self, key: str, handler: Callable[[], object]) -> None:
        """Bind a key in the dock, where lists would otherwise search for what begins with it."""
        shortcut = QShortcut(QKeySequence(key), self._dock)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.setAutoRepeat(False)
        shortcut.activated.connect(lambda: handler())
        self._shortcuts.append(shortcut)

    def show_card(self) -> None:
        """Show the card with keys and gestures, or close it if it is open."""
        if self._card is None:
            self._card = KeyCard(self.keys, self._dock)
        self._card.setVisible(not self._card.isVisible())

    def close(self) -> None:
        """Unbind the keys."""
        for key, pressed in self._bound:
            if self._viewer.keymap.get(key) is pressed:
                self._viewer.bind_key(key, None)
        self._bound = []
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        if self._card is not None:
            self._card.close()


class KeyCard(QDialog):
    """A small window with the keys and gestures.

    Parameters
    ----------
    keys
        Keys by the names of their actions in the tool table.
    parent
        Widget that the card belongs to.
    """

    def __init__(self, keys: Mapping[str, str], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        # The keys that it shows go on working.
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        known = [(keys[action.name], action.label) for action in ACTIONS if action.name in keys]
        columns = QHBoxLayout()
        columns.setSpacing(24)
        for rows in (known, GESTURES):
            label = QLabel(_table(rows))
            label.setTextFormat(Qt.TextFormat.RichText)
            columns.addWidget(label, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.addLayout(columns)
        layout.addWidget(
            QLabel(
                "The keys work while the dock is open; all of napari's own keys stay as they are."
            )
        )

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802, Qt's name
        """Close the card with the key that opened it, too."""
        if event is not None and event.key() == Qt.Key.Key_F1:
            self.close()
        else:
            super().keyPressEvent(event)


def _table(rows: Any) -> str:
    cells = "".join(
        f"<tr><td style='padding-right: 12px'><b>{escape(left)}</b></td><td>{escape(right)}</td></tr>"
        for left, right in rows
    )
    return f"<table cellspacing='0' cellpadding='2'>{cells}</table>"


def _keys_of_command(command: str) -> list[Any]:
    """Return the keys of a command of napari, as in its preferences."""
    return list(get_settings().shortcuts.shortcuts.get(command, []))


def _keymaps(*classes: type) -> list[Mapping[Any, Any]]:
    """Return the keymaps of classes and those that they inherit."""
    return [
        vars(base)["class_keymap"]
        for kind in classes
        for base in kind.__mro__
        if "class_keymap" in vars(base)
    ]
