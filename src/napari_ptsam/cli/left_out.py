"""The last line of a command that could not use some of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from napari_ptsam.cli.remedies import on_command_line
from napari_ptsam.errors import InputError

LISTED = 10
"""Number of problems that are listed at most."""


def report_left_out(problems: Sequence[str], rest: str) -> None:
    """End with an error that lists what was left out, if anything was.

    Parameters
    ----------
    problems
        Why inputs were left out.
    rest
        What has become of the other inputs, as a clause.

    Raises
    ------
    InputError
        If there are problems.
    """
    if not problems:
        return
    listed = "; ".join(on_command_line(problem).rstrip(".") for problem in problems[:LISTED])
    more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    raise InputError(f"Left out: {listed}{more}; {rest}.")
