"""Tests of the backbones compute everything, each time."""

from __future__ import annotations

import pytest

from conftest_encoder import EarlyStages


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the encoder compute its early stages also where other tests have computed them."""
    monkeypatch.setattr(EarlyStages, "remembers", False)
