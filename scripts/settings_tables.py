"""Write the tables of settings in the documentation from their declarations.

These are the page docs/settings.md, and the parts of docs/command-line.md between
``<!-- begin: CLASS ... -->`` and ``<!-- end -->``. ``--check`` writes nothing, and fails if a
page is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.io.declaration import Setting, settings_of
from napari_ptsam.training.presets import PRESET_HELP, PRESETS
from napari_ptsam.training.settings import TrainingSettings

DOCS = Path(__file__).parents[1] / "docs"
PAGE, COMMAND_LINE = DOCS / "settings.md", DOCS / "command-line.md"
BLOCK = re.compile(r"(<!-- begin: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
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


def paragraphs() -> Iterator[str]:
    """Yield the paragraphs of docs/settings.md."""
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
            further = {k: v for k, v in PRESETS["paper"].items() if k not in names}
            listed = ", ".join(f"`{name}` {value}" for name, value in further.items())
            yield f"The preset `paper` also sets {listed}."


def line(setting: Setting) -> str:
    """Return the row of a setting."""
    option = f"`--{setting.option}`" if setting.option else ""
    default = {None: "none"}.get(setting.default, setting.default)
    if setting.name == "normalization":
        option, default = "`--normalize`, `--percentiles`", "percentiles 1 and 99.8 of each plane"
    kinds = {"channels": "whole numbers", "normalization": "a Normalization"}
    values = setting.expected or kinds.get(setting.name, "a name")
    return f"| `{setting.name}` | {option} | {values} | {default} | {setting.description} |"


def options_of(names: str) -> str:
    """Return the table of the command-line options of some classes of settings."""
    classes = {settings_class.__name__: settings_class for settings_class in TEXTS}
    lines = ["| Option | Effect | Default |", "|---|---|---|"]
    for name in names.split():
        for setting in settings_of(classes[name]).values():
            if setting.option:
                default = (
                    "" if setting.default in (None, "") or setting.kind is bool else setting.default
                )
                meaning = "Turns off the following. " * (setting.default is True)
                lines.append(
                    f"| `--{setting.option}` | {meaning}{setting.description} | {default} |"
                )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    text = COMMAND_LINE.read_text(encoding="utf-8")
    pages = {
        PAGE: "\n\n".join(paragraphs()) + "\n",
        COMMAND_LINE: BLOCK.sub(lambda m: m[1] + options_of(m[2]) + m[3], text),
    }
    for path, page in pages.items():
        if "--check" not in sys.argv:
            path.write_text(page, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != page:
            print(f"{path.name} is not up to date; run scripts/settings_tables.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
