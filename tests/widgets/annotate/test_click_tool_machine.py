"""Random runs of what a user may do with clicks and napari's tools, against a plain model.

PTSAM_RUNS sets how many runs of 30 actions are made; as a test of the suite there are few.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from napari.components import ViewerModel
from test_click_tool import drag_over, let_go, press_down

from napari_ptsam.annotation.outlines import Outline
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate import click_tool
from napari_ptsam.widgets.annotate.click_tool import ClickTool
from napari_ptsam.widgets.annotate.session_model import SessionModel
from napari_ptsam.widgets.shared.backbone_service import BackboneService

RUNS = int(os.environ.get("PTSAM_RUNS", "12"))
ACTIONS = 30
PLANES, SIDE = 2, 18
REACH, BITE = 3, 1
"""Radii of what a click on an object finds, and of what a negative one takes away."""
FOREIGN = 60_000
"""A label that only another plugin writes."""
MARGIN = 1
"""Rows and columns that the outline's window leaves out."""

at = anywhere = st.tuples(st.integers(MARGIN, SIDE - 1), st.integers(MARGIN, SIDE - 1))
refining = st.sampled_from([(), ("Control",), ("Alt",)])


def disk(centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.ogrid[:SIDE, :SIDE]
    return (y - round(centre[0])) ** 2 + (x - round(centre[1])) ** 2 <= radius**2


def outline_of(points: Any, positive: Any, box: Any) -> np.ndarray:
    """What the stand-in for SAM finds: bool, the whole plane; it grows with each click."""
    mask = np.zeros((SIDE, SIDE), bool)
    if box is not None:
        y0, x0, y1, x1 = (round(edge) for edge in box)
        mask[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = True
    for centre, on in zip(points, positive, strict=True):
        if on:
            mask |= disk(centre, REACH + 0.5 * len(points))
    for centre, on in zip(points, positive, strict=True):
        if not on:
            mask &= ~disk(centre, BITE)
    mask[:MARGIN] = mask[:, :MARGIN] = False
    return mask


class FakeClicker(ClickTool):
    """Finds outlines without SAM."""

    def _answer(self, clicked: Any, where: Any) -> Any:
        mask = outline_of(*where)[MARGIN:, MARGIN:]
        if not mask.any():
            raise InputError("No object was found.")
        window = (slice(MARGIN, SIDE), slice(MARGIN, SIDE))
        yield Outline(window, mask, None)


class Waiting:
    """Jobs that are done when the machine says so."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def submit(self, name, steps, show=None, failed=None, **_) -> None:
        if name == "click":
            self.jobs.append((steps, show, failed))

    def cancel(self, name) -> None:
        pass

    def close(self, wait=0.0) -> None:
        self.jobs = []

    def deliver(self) -> None:
        steps, show, failed = self.jobs.pop(0)
        try:
            for result in steps():
                show(result)
        except InputError as error:
            failed(str(error))


@dataclass
class Step:
    """One step of the history: where, and what was and came there."""

    where: tuple[np.ndarray, ...]
    before: np.ndarray
    after: np.ndarray


@dataclass
class Sheet:
    """The model of an annotation layer."""

    data: np.ndarray
    users: np.ndarray
    """Where the user painted."""
    undo: list[Step] = field(default_factory=list)
    redo: list[Step] = field(default_factory=list)
    objects: list[Thing] = field(default_factory=list)

    def difference(self, now: np.ndarray) -> Step | None:
        where = np.nonzero(now != self.data)
        return Step(where, self.data[where], now[where]) if len(where[0]) else None


@dataclass(eq=False)
class Thing:
    """The model of an object that is clicked on."""

    sheet: Sheet
    data_version: int
    number: int
    label: int | None
    points: list[tuple[float, float]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    box: Any = None
    step: Step | None = None
    finished: bool = False

    @property
    def alive(self) -> bool:
        """Whether it may be replaced: written, and nothing came after it."""
        sheet, step = self.sheet, self.step
        return (
            step is not None
            and not self.finished
            and bool(sheet.undo)
            and sheet.undo[-1] is step
            and np.array_equal(sheet.data[step.where], step.after)
        )


class Clicks(RuleBasedStateMachine):
    """A viewer with two stacks and the click_tool, beside the model."""

    @initialize(classes=st.booleans())
    def open(self, classes: bool) -> None:
        self.viewer = ViewerModel()
        pixels = np.zeros((PLANES, SIDE, SIDE), np.float32)
        images = [self.viewer.add_image(pixels, name=f"image {i}") for i in range(2)]
        self.session_model = SessionModel(self.viewer, {}, BackboneService(), None)
        self.session_model.jobs.close()
        self.session_model.jobs = self.jobs = Waiting()
        if classes:
            self.session_model.use_scheme(Scheme(("one", "two")))
        self.session_model.use_images(images)
        self.session_model.add_annotation_layers()
        self.viewer.dims.set_point(0, 0)
        self.click_tool = FakeClicker(self.session_model)
        self.sheets = {
            id(s.labels): Sheet(s.labels.data.copy(), np.zeros(s.labels.data.shape, bool))
            for s in self.session_model.images
        }
        self.versions = dict.fromkeys(self.sheets, 0)
        self.current: Thing | None = None
        self.pending: list[tuple[Thing, Any]] = []
        self.viewer.layers.selection.active = self.session_model.images[0].labels
        self.click_tool.activate(True)

    # What is there

    def source(self) -> Any:
        return self.session_model.current()[0]

    def sheet(self, labels: Any) -> Sheet:
        return self.sheets[id(labels)]

    @property
    def tool(self) -> str:
        active = self.viewer.layers.selection.active
        return str(getattr(active, "mode", "pan_zoom"))

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "click_tool"):
            return
        for source in self.session_model.images:
            assert np.array_equal(source.labels.data, self.sheet(source.labels).data)

    def by_user(self, labels: Any, step: bool = True) -> None:
        """Take over what the user did to a layer."""
        sheet = self.sheet(labels)
        change = sheet.difference(labels.data)
        if change is None:
            return
        sheet.data[change.where] = change.after
        sheet.users[change.where] = change.after != 0
        if step:
            sheet.undo.append(change)
            sheet.redo.clear()
        for thing in sheet.objects:
            thing.finished |= step or (labels.visible and not thing.alive)

    # Clicks

    def expect(self, at: tuple[int, int], positive: bool) -> None:
        """What a click asks for."""
        source, number = self.session_model.current()
        if not source.labels.visible:
            return
        sheet, pixel = self.sheet(source.labels), (number, *at)
        thing = self.current
        if thing is not None and (
            (thing.sheet, thing.number) != (sheet, number)
            or thing.data_version != self.versions[id(source.labels)]
            or (thing.step is not None and not thing.alive)
        ):
            thing = self.current = None
        if positive:
            own = thing is not None and thing.step is not None and any(
                pixel == place for place in zip(*thing.step.where, strict=True)
            )  # fmt: skip
            if not own:
                if sheet.data[pixel]:
                    return
                thing = self.begin(source, number)
        if thing is not None:
            thing.points.append(at)
            thing.positive.append(positive)
            self.ask(thing, at)

    def begin(self, source: Any, number: int) -> Thing:
        label = None if self.session_model.scheme.instances else source.labels.selected_label
        sheet, version = self.sheet(source.labels), self.versions[id(source.labels)]
        self.current = Thing(sheet, version, number, label)
        return self.current

    def ask(self, thing: Thing, at: Any) -> None:
        self.pending.append((thing, (tuple(thing.points), tuple(thing.positive), thing.box, at)))

    def answered(self) -> None:
        """What the oldest answer does."""
        thing, (*where, at) = self.pending.pop(0)
        sheet, mask = thing.sheet, outline_of(*where)
        if not mask.any():
            if at in thing.points:
                position = thing.points.index(at)
                del thing.points[position], thing.positive[position]
            if thing is self.current and thing.step is None:
                self.current = None
            return
        labels = next(s.labels for s in self.session_model.images if self.sheet(s.labels) is sheet)
        if thing.data_version != self.versions[id(labels)]:
            return
        if thing.step is not None and not thing.alive:
            return
        plane = sheet.data.copy()
        if thing.step is not None:
            plane[thing.step.where] = 0
        label = thing.label or int(sheet.data[thing.number].max()) + 1
        rows, columns = np.nonzero(mask & (plane[thing.number] == 0))
        if not len(rows):
            return
        if thing.step is not None:
            sheet.undo.pop()
        else:
            sheet.objects.append(thing)
        thing.label = label
        plane[thing.number, rows, columns] = label
        where = np.full(len(rows), thing.number), rows, columns
        thing.step = Step(where, np.zeros(len(rows), plane.dtype), plane[where])
        sheet.data[:] = plane
        sheet.undo.append(thing.step)
        sheet.redo.clear()
        for other in sheet.objects:
            other.finished |= other is not thing

    def by_plugin(self, action: Any) -> None:
        """Do what only the plugin may write at; nothing that the user painted may change."""
        layers = [source.labels for source in self.session_model.images]
        before = [labels.data.copy() for labels in layers]
        action()
        for labels, was in zip(layers, before, strict=True):
            painted = self.sheet(labels).users
            assert np.array_equal(labels.data[painted], was[painted])

    def deliver_one(self) -> None:
        self.by_plugin(self.jobs.deliver)
        self.answered()

    @precondition(lambda self: self.pending)
    @rule()
    def deliver(self) -> None:
        self.deliver_one()

    @rule(
        tool=st.sampled_from(["pan_zoom"] * 6 + ["paint", "erase", "fill", "pick"]),
        at=at,
        modifiers=st.sampled_from([(), (), (), ("Control",), ("Alt",)]),
        size=st.integers(1, 5),
        label=st.integers(0, 4),
        soon=st.booleans(),
        back=st.booleans(),
    )
    def press(self, tool, at, modifiers, size, label, soon, back) -> None:
        """Choose a tool, press the mouse, and perhaps go back to pan/zoom."""
        labels = self.source().labels
        self.viewer.layers.selection.active = labels
        self.choose(labels, tool)
        position = (self.viewer.dims.current_step[0], *at)
        if self.tool == "pan_zoom":
            if not self.session_model.scheme.instances:
                labels.selected_label = 1 + label % 2

            def click() -> None:
                press_down(self.viewer, position, modifiers)
                let_go(self.viewer, position, modifiers)

            self.by_plugin(click)
            self.expect(at, not modifiers)
            if soon and self.pending:
                while self.pending:
                    self.deliver_one()
        else:
            labels.brush_size, labels.selected_label = size, label
            press_down(self.viewer, position)
            let_go(self.viewer, position)
            self.by_user(labels)
        if back:
            self.choose(labels, "pan_zoom")

    def choose(self, labels: Any, tool: str) -> None:
        labels.mode = tool
        self.tool_chosen()

    def tool_chosen(self) -> None:
        if self.tool != "pan_zoom" and self.current is not None:
            self.current.finished = True
            self.current = None

    @rule(at=at, data=st.data(), modifiers=refining, soon=st.booleans())
    def click_on_something(self, at, data, modifiers, soon) -> None:
        """Click where there is something: clicks anywhere seldom refine."""
        source, number = self.session_model.current()
        taken = np.argwhere(source.labels.data[number])
        if len(taken):
            at = tuple(data.draw(st.sampled_from(taken.tolist())))
        self.press("pan_zoom", at, modifiers, 1, 1, soon, True)

    @rule(
        data=st.data(),
        at=at,
        shift=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
        modifiers=refining,
        between=st.sampled_from(["", "undo", "redo", "stroke", "press", "go", "polygon", "box"]),
    )
    def object_twice(self, data, at, shift, modifiers, between) -> None:
        """Click on an object, do something else or nothing, and click on it again."""
        source, number = self.session_model.current()
        free = np.argwhere(source.labels.data[number, MARGIN:, MARGIN:] == 0) + MARGIN
        if not len(free):
            return
        at = tuple(data.draw(st.sampled_from(free.tolist())))
        self.press("pan_zoom", at, (), 1, 1, True, True)
        other, label = data.draw(anywhere), data.draw(st.integers(0, 4))
        match between:
            case "undo" | "redo":
                self.undo()
                if between == "redo":
                    self.redo()
            case "stroke":
                self.stroke(other, other, 1 + label, 3)
            case "press":
                tool = data.draw(st.sampled_from(["pan_zoom", "paint", "erase", "fill"]))
                self.press(tool, other, (), 3, label, True, True)
            case "go":
                self.go(1 - number)
                self.go(number)
            case "polygon":
                self.polygon([other, at, (SIDE - 1, SIDE - 1)], label)
            case "box":
                self.box(other, at, data.draw(st.booleans()))
        again = tuple(int(i) for i in np.clip(np.add(at, shift), MARGIN, SIDE - 1))
        self.press("pan_zoom", again, modifiers, 1, 1, data.draw(st.booleans()), True)

    @rule(begin=at, end=at, soon=st.booleans())
    def box(self, begin, end, soon) -> None:
        labels = self.source().labels
        self.viewer.layers.selection.active = labels
        self.choose(labels, "pan_zoom")
        if not self.session_model.scheme.instances:
            labels.selected_label = 1
        number = self.viewer.dims.current_step[0]

        def drag() -> None:
            press_down(self.viewer, (number, *begin), ("Shift",))
            drag_over(self.viewer, (number, *end), ("Shift",))
            let_go(self.viewer, (number, *end), ("Shift",), moved=True)

        self.by_plugin(drag)
        source, number = self.session_model.current()
        if not labels.visible:
            return
        thing = self.begin(source, number)
        (y0, y1), (x0, x1) = sorted((begin[0], end[0])), sorted((begin[1], end[1]))
        thing.box = y0, x0, y1, x1
        self.ask(thing, None)
        while soon and self.pending:
            self.deliver_one()

    # What else a user does

    @rule(begin=at, end=at, label=st.integers(1, 4), size=st.integers(1, 4))
    def stroke(self, begin, end, label, size) -> None:
        """A stroke in the middle of which answers arrive."""
        labels = self.source().labels
        self.viewer.layers.selection.active = labels
        self.choose(labels, "paint")
        labels.brush_size, labels.selected_label = size, label
        number = self.viewer.dims.current_step[0]
        press_down(self.viewer, (number, *begin))
        # Answers for other layers are painted at once, up to the first for this one.
        sheet, before = self.sheet(labels), labels.data.copy()
        waits = next((i for i, (t, _) in enumerate(self.pending) if t.sheet is sheet), None)
        waits = len(self.pending) if waits is None else waits
        late = len(self.pending) - waits
        while self.jobs.jobs:
            self.jobs.deliver()
        for _ in range(waits):
            self.answered()
        assert np.array_equal(labels.data, before)
        drag_over(self.viewer, (number, *end))
        let_go(self.viewer, (number, *end))
        self.by_user(labels)
        self.by_plugin(self.click_tool._delay.timeout.emit)
        for _ in range(late):
            self.answered()
        self.choose(labels, "pan_zoom")

    @rule(corners=st.lists(at, min_size=3, max_size=5), label=st.integers(0, 4))
    def polygon(self, corners, label) -> None:
        labels = self.source().labels
        number = self.viewer.dims.current_step[0]
        labels.paint_polygon([(number, *corner) for corner in corners], label)
        self.by_user(labels)

    @rule()
    def undo(self) -> None:
        labels = self.source().labels
        sheet = self.sheet(labels)
        labels.undo()
        if sheet.undo:
            step = sheet.undo.pop()
            self.replay(labels, step, step.before)
            sheet.redo.append(step)

    @rule()
    def redo(self) -> None:
        labels = self.source().labels
        sheet = self.sheet(labels)
        labels.redo()
        if sheet.redo:
            step = sheet.redo.pop()
            self.replay(labels, step, step.after)
            sheet.undo.append(step)

    def replay(self, labels: Any, step: Step, values: np.ndarray) -> None:
        sheet = self.sheet(labels)
        sheet.data[step.where] = values
        sheet.users[step.where] = values != 0
        for thing in sheet.objects:
            thing.finished |= labels.visible

    @rule(number=st.integers(0, PLANES - 1))
    def go(self, number) -> None:
        before = self.viewer.dims.current_step[0]
        self.by_plugin(lambda: self.viewer.dims.set_point(0, number))
        if number != before:
            self.current = None

    @rule(which=st.integers(0, 4))
    def choose_layer(self, which) -> None:
        layers = self.viewer.layers
        before = layers.selection.active
        chosen = layers[which] if which < len(layers) else None
        self.by_plugin(lambda: setattr(layers.selection, "active", chosen))
        if chosen is not before:
            self.current = None

    @rule(
        what=st.sampled_from(["foreign", "foreign", "replace", "hide"]),
        at=at,
        size=st.integers(1, 6),
        undo=st.booleans(),
    )
    def seldom(self, what, at, size, undo) -> None:
        """Another plugin writes, the layer's data are replaced, or it is hidden for a while."""
        labels = self.source().labels
        number = self.viewer.dims.current_step[0]
        if what == "foreign":
            labels.data[number, at[0] : at[0] + size, at[1] : at[1] + size] = FOREIGN
            labels.refresh()
            self.by_user(labels, step=False)
        elif what == "replace":
            labels.data = labels.data.copy()
            self.versions[id(labels)] += 1
            for thing in self.sheet(labels).objects:
                thing.finished = True
        else:
            self.viewer.layers.selection.active = labels
            self.show(labels, False)
            self.press("paint", at, (), size, 3, True, False)  # says that the layer is hidden
            if undo:
                self.undo()
            self.show(labels, True)

    def show(self, labels: Any, visible: bool) -> None:
        self.by_plugin(lambda: setattr(labels, "visible", visible))
        for thing in self.sheet(labels).objects:
            thing.finished |= labels.visible and not thing.alive
        self.tool_chosen()

    def teardown(self) -> None:
        if hasattr(self, "click_tool"):
            self.click_tool.close()
            self.session_model.close()


@pytest.fixture
def quiet(monkeypatch) -> None:
    for name in ("show_info", "show_warning"):
        monkeypatch.setattr(click_tool, name, lambda message: None)


def test_nothing_the_user_painted_changes_but_by_the_user(qapp, quiet) -> None:
    run_state_machine_as_test(
        Clicks,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=ACTIONS,
            deadline=None,
            database=None,
            derandomize=RUNS < 100,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
