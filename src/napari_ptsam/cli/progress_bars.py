"""Progress bars, which appear only if standard error is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from tqdm import tqdm

from napari_ptsam.cli.remedies import on_command_line

if TYPE_CHECKING:
    from napari_ptsam.training.settings import Progress


class _Bar:
    """A context manager that makes a bar when it is first needed, and closes it at the end."""

    units: ClassVar[dict[str, Any]] = {}

    def __init__(self, total: int, title: str) -> None:
        self._total, self._title = total, title
        self._bar: tqdm | None = None
        self._done_before = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _at(self, done: int) -> tqdm:
        if self._bar is None:
            self._bar = tqdm(
                total=self._total, desc=self._title, initial=self._done_before, disable=None,
                file=sys.stderr, **self.units,
            )  # fmt: skip
        self._bar.update(done - self._bar.n)
        return self._bar


class PlaneBar(_Bar):
    """A bar that counts planes."""

    def __enter__(self) -> PlaneBar:
        return self

    def show(self, done: int, before: bool = False) -> None:
        """Show the number of planes done; those done ``before`` do not count for the time left."""
        if before and self._bar is None:
            self._done_before = done
            return
        self._at(done)


class ByteBar(_Bar):
    """A bar that counts the bytes of a download; a total of 0 is unknown."""

    units: ClassVar[dict[str, Any]] = {"unit": "B", "unit_scale": True}

    def __enter__(self) -> ByteBar:
        return self

    def show(self, done: int, total: int) -> None:
        """Show the number of bytes downloaded, and of the whole file."""
        self._total = total
        self._at(done)


class TrainingBar(_Bar):
    """A bar for each phase of a training, with loss and Dice on the validation planes."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps, "")
        self._note = ""

    def __enter__(self) -> TrainingBar:
        return self

    def show(self, progress: Progress) -> None:
        """Show the progress of the training."""
        if progress.phase == "done":
            self._close()
            if progress.note and progress.note != self._note:
                print(on_command_line(progress.note), file=sys.stderr)
            return
        if (progress.phase, progress.steps) != (
            self._title,
            self._total,
        ) or progress.note != self._note:
            self._close()
            self._title, self._total, self._note = progress.phase, progress.steps, progress.note
            if progress.note:
                print(on_command_line(progress.note), file=sys.stderr)
        values = {}
        if progress.loss is not None:
            values["loss"] = f"{progress.loss:.3f}"
        if progress.held_out_dice is not None:
            values["Dice"] = f"{progress.held_out_dice:.3f}"
        if progress.seconds_left is not None:
            values["left"] = f"{progress.seconds_left:.0f} s"
        self._at(progress.step).set_postfix(values, refresh=False)
