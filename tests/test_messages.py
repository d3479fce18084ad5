"""Messages are worded by the front end that shows them."""

import ast
import pickle
import re
from pathlib import Path
from string import Formatter

import pytest

import napari_ptsam as ptsam
from napari_ptsam import errors
from napari_ptsam.cli.parser import build_parser
from napari_ptsam.cli.remedies import COMMAND_LINE, on_command_line
from napari_ptsam.errors import (
    PYTHON,
    Advice,
    InputError,
    Message,
    OutputError,
    Remedy,
    framed,
    joined,
    worded,
)
from napari_ptsam.training.settings import TrainingSettings

SOURCE = Path(ptsam.__file__).parent
OPTIONS = {
    option
    for action in build_parser()._actions
    for command in (action.choices or {}).values()
    for option in command._option_string_actions
}
"""Options of the commands."""


def form():
    """The wording of the widgets, whose package needs napari."""
    return pytest.importorskip("napari_ptsam.widgets.shared.remedies").FORM


def placeholders(text: str) -> set[str | None]:
    return {field for _, field, _, _ in Formatter().parse(text) if field}


@pytest.mark.parametrize("remedy", Remedy)
def test_each_front_end_words_each_remedy(remedy: Remedy) -> None:
    for words in (COMMAND_LINE, form()):
        text = words.remedies[remedy]
        assert placeholders(text) <= placeholders(remedy.value)
        assert text[0].isupper() and text[-1] == "."
    assert "--" not in form().remedies[remedy] and "=" not in form().remedies[remedy]
    assert "--" not in remedy.value


def test_nothing_but_the_command_line_names_its_options() -> None:
    """A command of another program, such as pip, may have options, too."""
    for path in SOURCE.rglob("*.py"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value)
                assert not OPTIONS & set(named), (path, node.lineno)


def test_an_error_is_worded_by_each_front_end() -> None:
    error = OutputError("a.tif exists and is kept.", Remedy.REPLACE)
    assert str(error) == worded(error, PYTHON)
    assert "overwrite=True" in str(error) and "--overwrite" in on_command_line(error)
    assert "tick “Replace existing results”" in worded(error, form())
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert on_command_line(pickle.loads(pickle.dumps(error))) == on_command_line(error)
    assert on_command_line(OutputError("The disk is full.")) == "The disk is full."


def test_messages_within_others_keep_their_remedy() -> None:
    error = InputError("There are no markers.", Remedy.SPLIT_COMPONENTS)
    within = framed(error, before="cells, plane 2: ", after=" It is left out.")
    assert within == f"cells, plane 2: {error} It is left out."
    assert on_command_line(InputError(within)).startswith("cells, plane 2: There are no markers. T")
    assert "--split components" in on_command_line(within)
    notes = joined(["", "One.", Message("Two.", " ", Advice(Remedy.ALLOW_MINUTES, {"minutes": 4}))])
    assert on_command_line(notes).startswith("One. Two. Allow the time")
    assert "--minutes 4" in on_command_line(notes) and "“Time”" in worded(notes, form())


def test_a_wrong_setting_is_named_as_the_front_end_names_it() -> None:
    with pytest.raises(InputError) as raised:
        TrainingSettings(batch_size=0)
    rest = "is a whole number from 1 up, not 0; the default is 4."
    assert str(raised.value) == f"The setting batch_size {rest}"
    assert on_command_line(raised.value) == f"The option --batch-size {rest}"
    assert worded(raised.value, form()) == f"The setting “Batch size” {rest}"


def test_errors_are_framed_so_that_front_ends_still_word_their_remedies() -> None:
    """A formatted string of a caught error would fix the wording to that for Python."""
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type)
            and issubclass(kind, errors.PtsamError)}  # fmt: skip
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or node.name is None or node.type is None:
                continue
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            formatted = [
                inner for inner in ast.walk(node) if isinstance(inner, ast.FormattedValue)
                and isinstance(inner.value, ast.Name) and inner.value.id == node.name
            ]  # fmt: skip
            assert not (caught & ours and formatted), f"{path}, line {node.lineno}: use framed"
