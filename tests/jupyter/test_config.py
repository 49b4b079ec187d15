"""Settings that would not do what they say are refused by name."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from traitlets.traitlets import TraitError

from raynb.jupyter.config import Raynb


def test_a_url_of_kept_results_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Any] = [object()]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there[0])
    assert Raynb(keep_directory="s3://bucket/kept").keep_directory == "s3://bucket/kept"
    there[0] = None
    assert Raynb(keep_directory="/data/kept").keep_directory == "/data/kept"
    with pytest.raises(TraitError, match=r"'s3://bucket/kept' needs fsspec, .*: pip install \"raynb\[fsspec\]\""):
        Raynb(keep_directory="s3://bucket/kept")
