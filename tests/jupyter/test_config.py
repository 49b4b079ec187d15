"""Settings that would not do what they say are refused by name."""

from __future__ import annotations

import pytest
from traitlets.traitlets import TraitError

from raynb.jupyter.config import Raynb


def test_kept_results_go_to_a_folder_of_this_machine() -> None:
    assert Raynb(keep_directory="/data/kept").keep_directory == "/data/kept"
    with pytest.raises(TraitError, match=r"keep_directory is a folder .* got 's3://bucket/kept'"):
        Raynb(keep_directory="s3://bucket/kept")
