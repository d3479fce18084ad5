"""Names of files, and folders that can be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_ptsam.errors import OutputError
from napari_ptsam.io.writing import check_parent, probe_folder, safe_file_name

NAMES = [
    "nuclei", "a/b c", "../..", "con", "Zellen \u00e4/\u00f6: 3*2", "\u7d30\u80de", "", " . ", "x" * 400,
    "\u00e9" * 300, "tab\tand\nline", "trailing.", 'quo"te<>|?', "nul",
]  # fmt: skip


@pytest.mark.parametrize("separator", [None, "-", "_"])
@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_one_of_a_file(name: str, separator: str | None, tmp_path: Path) -> None:
    safe = safe_file_name(name, "fallback", separator, longest=60)
    path = tmp_path / f"{safe}.pt"
    path.touch(exist_ok=False)
    assert path.parent == tmp_path and path.name in {found.name for found in tmp_path.iterdir()}
    assert 0 < len(safe.encode()) <= 60 and not set(safe) & set('\\/:*?"<>|\t\n')
    assert safe.lower() not in ("con", "nul") and safe == safe.strip(" .")


def test_what_looks_the_same_afterwards() -> None:
    assert safe_file_name("Fig. 3 (DAPI + GFP)", "x") == "Fig. 3 (DAPI + GFP)"
    assert safe_file_name("a b/c", "x", separator="_") == "a_b_c"
    assert safe_file_name("\u7d30\u80de", "x", separator="_") == "\u7d30\u80de"
    assert safe_file_name("///", "x") == safe_file_name("", "x") == "x"


def test_a_folder_is_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotADirectoryError):
        probe_folder(tmp_path / "none")
    with pytest.raises(OutputError, match="make it first"):
        check_parent(tmp_path / "none" / "a.tif")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(OutputError, match=r"a\.tif cannot be written .*permission denied"):
        check_parent(tmp_path / "a.tif")
