"""The command line, run in this process."""

from __future__ import annotations

from napari_ptsam.cli import main


def run(*arguments: object) -> int:
    """Exit code."""
    return main([str(argument) for argument in arguments])


def complains(capsys, message: str, *arguments: object) -> str:
    """Exit code 2 and one line that holds the message; gives what is on standard output."""
    capsys.readouterr()
    try:
        code = run(*arguments)
    except SystemExit as stop:  # argparse leaves this way
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert err.count("\n") == 1 and err.startswith("napari-ptsam: ") and message in err, err
    return out


def fails(capsys, message: str, *arguments: object) -> None:
    """As `complains`, with nothing on standard output."""
    assert complains(capsys, message, *arguments) == ""
