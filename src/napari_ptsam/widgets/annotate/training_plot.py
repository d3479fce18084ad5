"""Plot loss and Dice while a training runs."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

LOSS, DICE = "#D55E00", "#0072B2"
SMOOTH = 0.9
"""Weight of earlier steps in the moving average of the loss."""


class TrainingPlot(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph has no type hints
    """Two curves over the steps: loss (error) on the left axis, and Dice (agreement) on the right axis."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None)
        self.setToolTip(
            "Error (loss, orange, should fall), and agreement with the annotation of the validation planes "
            "(Dice, blue, should rise to 1)."
        )
        self.setMinimumHeight(110)
        self.setMouseEnabled(x=False, y=False)
        self.setMenuEnabled(False)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hideButtons()
        plot = self.getPlotItem()
        plot.setLabel("left", "error", color=LOSS)
        plot.setLabel("bottom", "step")
        plot.showAxis("right")
        plot.setLabel("right", "agreement", color=DICE)
        for side in ("left", "bottom", "right"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        # Otherwise the label "step" and the uppermost numbers are cut off.
        plot.layout.setContentsMargins(0, 8, 0, 5)
        self._dice_box = pg.ViewBox(enableMenu=False, enableMouse=False)
        plot.scene().addItem(self._dice_box)
        plot.getAxis("right").linkToView(self._dice_box)
        self._dice_box.setXLink(plot)
        self._dice_box.setYRange(0, 1, padding=0.02)
        plot.vb.sigResized.connect(self._align)
        self._loss = plot.plot(pen=pg.mkPen(LOSS, width=2))
        self._dice = pg.PlotDataItem(
            pen=pg.mkPen(DICE, width=2), symbol="o", symbolSize=6, symbolBrush=DICE, symbolPen=None
        )
        self._dice_box.addItem(self._dice)
        self.clear_lines()

    def sizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return a height that fits a laptop; the layout adds the space that remains."""
        return QSize(200, 110)

    def _align(self) -> None:
        self._dice_box.setGeometry(self.getPlotItem().vb.sceneBoundingRect())

    def clear_lines(self, steps: int | None = None) -> None:
        """Remove both curves, and set the number of steps."""
        self._losses: tuple[list[int], list[float]] = ([], [])
        self._dices: tuple[list[int], list[float]] = ([], [])
        self._loss.setData([], [])
        self._dice.setData([], [])
        self._steps = 0
        if steps is not None:
            self.set_steps(steps)
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        for side in ("left", "bottom", "right"):
            self.getAxis(side).setTextPen(colour)

    def set_steps(self, steps: int) -> None:
        """Set the number of steps, at which the plot ends."""
        if steps != self._steps:
            self._steps = steps
            self.setXRange(0, steps, padding=0.01)

    def add(self, step: int, loss: float | None, dice: float | None) -> None:
        """Add the values of a step. A Dice equal to the last one is not repeated."""
        if loss is not None:
            steps, losses = self._losses
            smooth = loss if not losses else SMOOTH * losses[-1] + (1 - SMOOTH) * loss
            steps.append(step)
            losses.append(smooth)
        if dice is not None and (not self._dices[1] or self._dices[1][-1] != dice):
            self._dices[0].append(step)
            self._dices[1].append(dice)

    def draw(self) -> None:
        """Redraw both curves."""
        self._loss.setData(*self._losses)
        self._dice.setData(*self._dices)
