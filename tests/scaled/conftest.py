"""The tests here say themselves where each server has its state."""

from __future__ import annotations

import pytest

from ecr_emulator import server
from ecr_emulator.testing import background


@pytest.fixture(autouse=True)
def _as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "running", server.running)
