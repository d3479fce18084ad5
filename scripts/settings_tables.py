"""Write docs/settings.md, the tables of all settings, from their declarations.

``--check`` writes nothing, and fails if the file is not up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.io.declaration import Setting, settings_of
from napari_ptsam.training.presets import PRESET_HELP, PRESETS
from napari_ptsam.training.settings import TrainingSettings

FILE = Path(__file__).parents[1] / "docs" / "settings.md"
TEXTS = {
    TrainingSettings: (
        "Training",
        "Python: keyword arguments of `napari_ptsam.train`. Command line: options of `napari-ptsam "
        "train`. Widget: the tab *3 Train*, under *Advanced*. Sessions store them by their names in "
        "Python.",
    ),
    ResultSettings: (
        "Results",
        "Python: keyword arguments of `napari_ptsam.segment`. Command line: options of `napari-ptsam "
        "segment`, where `--instances` and `--probabilities` choose the output.",
    ),
    LinkSettings: (
        "Linking planes",
        "Python: `napari_ptsam.segment(..., link=napari_ptsam.LinkSettings(...))`. Command line: "
        "options of `napari-ptsam segment`.",
    ),
}


def pages() -> Iterator[str]:
    """Yield the paragraphs of the page."""
    yield "# Settings"
    yield (
        "All settings, with the values that they may have and their defaults. This page is written by "
        "`scripts/settings_tables.py` from the declarations in the source; edit these instead."
    )
    for settings_class, (title, text) in TEXTS.items():
        yield f"## {title}"
        yield text
        lines = ["| setting | option | values | default | meaning |", "|---|---|---|---|---|"]
        yield "\n".join([*lines, *map(line, settings_of(settings_class).values())])
        if settings_class is TrainingSettings:
            yield "### Presets"
            yield "A preset sets several of these. Settings that are given take precedence over it."
            names = list(PRESETS["normal"])
            rows = [f"| preset | {' | '.join(f'`{name}`' for name in names)} | good for |"]
            rows.append("|---" * (len(names) + 2) + "|")
            for preset, values in PRESETS.items():
                cells = " | ".join(f"{values[name]:g}" for name in names)
                rows.append(f"| `{preset}` | {cells} | {PRESET_HELP[preset]} |")
            yield "\n".join(rows)


def line(setting: Setting) -> str:
    """Return the row of a setting."""
    option = f"`--{setting.option}`" if setting.option else ""
    default = {None: "none"}.get(setting.default, setting.default)
    if setting.name == "normalization":
        option, default = "`--normalize`, `--percentiles`", "percentiles 1 and 99.8 of each plane"
    kinds = {"channels": "whole numbers", "normalization": "a Normalization"}
    values = setting.expected or kinds.get(setting.name, "a name")
    return f"| `{setting.name}` | {option} | {values} | {default} | {setting.description} |"


def main() -> int:
    """Write the page, or compare it; return the exit code."""
    page = "\n\n".join(pages()) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(page, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != page:
        print(f"{FILE.name} is not up to date; run scripts/settings_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
