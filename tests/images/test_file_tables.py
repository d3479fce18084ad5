"""The tables of file formats in the documentation."""

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "file_tables.py"


def test_the_page_says_what_is_kept_of_files(monkeypatch) -> None:
    spec = importlib.util.spec_from_file_location("file_tables", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)  # dataclasses look there
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.page_with_tables(page) == page, f"run {SCRIPT.name}"
