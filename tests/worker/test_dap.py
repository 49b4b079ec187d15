"""debugpy in a worker: what it says where it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raynb.worker.inspection import dap


def test_without_debugpy_or_room_for_a_name_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "debugpy", None)
    with pytest.raises(ValueError, match=r"debugpy is not installed here .*raynb\[debug\]"):
        dap.serve(str(tmp_path / "socket"))
    with pytest.raises(ValueError, match="object_spilling_directory"):
        dap.serve(f"/{'x' * 200}")
    assert not list(tmp_path.iterdir())
