"""Command-line options of declared settings."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

from napari_ptsam.io.declaration import Setting, settings_of
from napari_ptsam.io.former_names import FormerNames, former_names_of


def add_settings(parser: argparse.ArgumentParser, settings_class: type, *names: str) -> None:
    """Add an option for each setting of a class that has one.

    An option that is not given is None, so that `given` can tell. Former names of options and
    values are accepted, but the help does not show them.

    Parameters
    ----------
    parser
        The parser of a command.
    settings_class
        A class decorated with `declared`.
    *names
        Settings to add; all by default.
    """
    former = former_names_of(settings_class)
    for setting in settings_of(settings_class).values():
        if setting.option and (not names or setting.name in names):
            argument = _argument(setting, former)
            parser.add_argument(f"--{setting.option}", dest=setting.name, default=None, **argument)
            for old, new in former.names.items():
                if new == setting.name:
                    option = f"--{old.replace('_', '-')}"
                    argument["help"] = argparse.SUPPRESS
                    parser.add_argument(option, dest=new, default=None, **argument)


def options_given(options: Namespace, settings_class: type) -> dict[str, Any]:
    """Return the settings that the command line names."""
    values = {name: getattr(options, name, None) for name in settings_of(settings_class)}
    return {name: value for name, value in values.items() if value is not None}


def _argument(setting: Setting, former: FormerNames) -> dict[str, Any]:
    text = help_text(setting)
    if setting.kind is bool:
        if setting.default:
            return {"action": "store_false", "help": f"Turn off the following. {text}"}
        return {"action": "store_true", "help": text}
    if setting.kind is None and setting.words:
        return {
            "type": partial(former.current_value, setting.name),
            "choices": setting.words,
            "help": text,
        }
    return {"type": _reader(setting), "metavar": setting.shown.metavar, "help": text}


def help_text(setting: Setting) -> str:
    """Return the help of an option: the description of the setting, and its default."""
    text = plain(setting.description).replace("%", "%%")
    if setting.kind is bool or setting.default is None:
        return text
    default = f"{setting.default:g}" if setting.kind is float else setting.default
    return f"{text} Default: {default}{', or that of the preset' * setting.shown.preset}."


def plain(description: str) -> str:
    """Return a description without the marks of values."""
    return description.replace("`", "")


def _reader(setting: Setting) -> Callable[[str], Any]:
    """Return the function that reads the text of an option; wrong texts are argparse's errors."""

    def read(text: str) -> Any:
        if text in setting.words:
            return text
        try:
            if setting.kind is None:
                return tuple(int(part) for part in text.split(","))
            return setting.kind(text)
        except ValueError:
            form = setting.expected or "of the form 0,2"
            raise argparse.ArgumentTypeError(f"{text!r} is not {form}") from None

    return read
