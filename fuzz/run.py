"""Fuzz a reader with atheris: ``python fuzz/run.py TARGET [options of libFuzzer]``.

``nox -s fuzz`` runs all targets. Inputs that found new code are kept in ``fuzz/corpus``, and one
that crashes is written to the current folder; ``python fuzz/run.py TARGET FILE`` reads it again.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["napari_ptsam", "roifile"]):
    from napari_ptsam.errors import PtsamError
    from targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=16384")


def main() -> None:
    """Fuzz the target that the first argument names."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def read(data: bytes) -> None:
        with suppress(PtsamError):
            target.read(data, folder)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if options and Path(options[-1]).is_file():
            read(Path(options[-1]).read_bytes())
            return
        corpus = CORPUS / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed{number}").write_bytes(seed)
            try:
                target.read(seed, folder)
            except PtsamError as error:
                print(f"seed {number} is declined: {error}")
        atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
