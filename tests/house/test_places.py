"""The project names no machine: no path of the one it was written on, no download address."""

from __future__ import annotations

import json
import re
from pathlib import Path

from . import source

#: Folders that many machines have: naming them gives nothing away.
COMMON = {"/", "/tmp", "/home", "/usr", "/opt", "/srv", "/var", "/mnt", "/src", "/root"}

HOME = re.compile(r"(?<![\w.])/(?:home|Users)/(?!(?:user|you|me|alice|jovyan)\b)[A-Za-z0-9_.-]+/")
LOCKS = ("package-lock.json", "yarn.lock", "poetry.lock", "uv.lock", "pdm.lock")
PIP_PLACES = re.compile(r"(?:--(?:extra-)?index-url|--find-links|index-url\s*=|registry\s*=)\s*\S+")


def machine_paths() -> list[str]:
    """Paths that would only be right here: the folder above the checkout, and the home folder."""
    candidates = [source.ROOT.parent, Path.home()]
    return [
        f"{path}/"
        for path in candidates
        if str(path) not in COMMON - {str(Path.home())} and len(path.parts) > 1
    ]


def test_no_file_names_a_path_of_a_machine() -> None:
    wrong = []
    for path in source.tracked():
        text = source.text_of(path)
        if text is None:
            continue
        name = path.relative_to(source.ROOT)
        wrong += [f"{name}: {place}" for place in machine_paths() if place in text]
        wrong += [f"{name}: {match.group()}" for match in HOME.finditer(text)]
    assert not wrong, "\n".join(wrong)


def test_lock_files_carry_no_download_addresses() -> None:
    for path in source.tracked():
        if path.name not in LOCKS:
            continue
        text = path.read_text()
        assert '"resolved"' not in text, f"{path} records where packages were downloaded from"
        if path.suffix == ".json":
            assert json.loads(text)["lockfileVersion"] >= 2


def test_nothing_chooses_a_package_index_for_the_user() -> None:
    wrong = []
    for path in source.tracked():
        if path.suffix in (".toml", ".cfg", ".txt", ".ini", ".yml", ".yaml", ".py") or path.name in (
            ".npmrc", "Makefile", "run",
        ):  # fmt: skip
            if path == Path(__file__).resolve():
                continue
            text = source.text_of(path) or ""
            wrong += [f"{path.relative_to(source.ROOT)}: {m.group()}" for m in PIP_PLACES.finditer(text)]
    assert not wrong, "\n".join(wrong)
