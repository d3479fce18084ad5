"""The command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        The command and its options; by default those of the process.

    Returns
    -------
    int
        The exit code. 0: done. 2: an error that the user can resolve, reported in one line.
        3: a trained prompt could not be written to its place and is kept in another one.
        130: Ctrl-C.
    """
    from napari_ptsam.cli.parser import build_parser
    from napari_ptsam.cli.remedies import on_command_line
    from napari_ptsam.errors import (
        InterruptedByUserError,
        KeptElsewhereError,
        PtsamError,
        PtsamWarning,
    )

    given = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(given[0] if given else "").parse_args(given)
    _print_any_name()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", PtsamWarning)
            warnings.showwarning = _warn
            options.run(options)
    except PtsamError as error:
        return _fail(on_command_line(error), 3 if isinstance(error, KeptElsewhereError) else 2)
    except InterruptedByUserError as stop:
        return _fail(str(stop), 130)
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        sys.stderr.close()
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'A file'}: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _fail("Stopped; unfinished results were not written.", 130)
    return 0


def _print_any_name() -> None:
    """Let file names that are not UTF-8 be printed: as they are for programs, escaped for people."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            as_they_are = stream is sys.__stdout__
            stream.reconfigure(errors="surrogateescape" if as_they_are else "backslashreplace")


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print warnings that are meant for the user; drop those of libraries for developers."""
    from napari_ptsam.cli.remedies import on_command_line
    from napari_ptsam.errors import PtsamWarning

    if issubclass(category, PtsamWarning):
        print(f"napari-ptsam: {on_command_line(message)}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"napari-ptsam: {' '.join(message.split())}", file=sys.stderr)
    return code
