"""The documents: made from the tables and fresh, and every link in them leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb import exceptions

from . import source

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("script", ["make_states", "make_messages", "make_tour"])
def test_what_is_generated_is_fresh(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f"scripts/{script}.py", "--check"],
        cwd=source.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_documents_lead_somewhere() -> None:
    wrong = []
    for path in source.tracked():
        if path.suffix != ".md":
            continue
        # What the site's build makes is not there before it; the build itself fails on a link that leads nowhere.
        targets = [t for t in LINK.findall(source.text_of(path) or "") if "generated" not in t.split("/")]
        name = path.relative_to(source.ROOT)
        wrong += [f"{name}: {target}" for target in targets if not (path.parent / target).exists()]
    assert not wrong, "\n".join(wrong)


def test_the_commands_of_the_readme_exist() -> None:
    readme = (source.ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (source.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake (\w+)", readme))
    assert {"lab", "test"} <= named <= targets
    ran = (source.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "exec make test\n" in ran


def test_the_readme_that_pypi_shows_has_no_picture_and_no_link_that_leads_nowhere() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert hook["fragments"] == [{"path": "README.md"}]
    shown = (source.ROOT / "README.md").read_text(encoding="utf-8")
    assert LINK.search(shown)
    for rule in hook["substitutions"]:
        shown = re.sub(rule["pattern"], rule["replacement"], shown)
    assert not LINK.search(shown)
    assert "![" not in shown
    assert "\n- docs/troubleshooting.md: by error text" in shown
    # No sentence announces what has been left out.
    assert not re.search(r":\n\n(?!```|- |\|)", shown)


#: A file or a folder (`engine/loop/`, `pool.py`), and a module or what is in one (`raynb.testing.fakes`).
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:pyi?|tsx?|mjs|css|md)|(?:[\w-]+/)+)(?:::\w+)?`")
MODULE = re.compile(r"`(raynb(?:\.\w+)+)`")


@pytest.mark.parametrize("document", ["architecture.md", "contributing.md", "design.md", "performance.md", "faults.md"])
def test_files_and_modules_that_the_documents_name_exist(document: str) -> None:
    text = (source.ROOT / "docs" / document).read_text(encoding="utf-8")
    files = {"/" + str(path.relative_to(source.ROOT)) for path in source.tracked()}
    folders = {f"{folder}/" for file in files for folder in map(str, Path(file).parents)}
    named = set(FILE.findall(text))
    missing = {name for name in named if not any(there.endswith("/" + name) for there in files | folders)}
    texts = {module.name: module.path.read_text(encoding="utf-8") for module in source.modules()}
    for name in MODULE.findall(text):
        module, _, last = name.rpartition(".")
        if name not in texts and not re.search(rf"\b{last}\b", texts.get(module, "")):
            missing.add(name)
    assert named
    assert not missing, sorted(missing)


def test_the_switches_that_the_guide_names_exist() -> None:
    guide = (source.ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    code = "\n".join(source.text_of(path) or "" for path in source.tracked() if path.suffix == ".py")
    named = set(re.findall(r"\bRAYNB_[A-Z_]+", guide))
    assert named
    assert not {name for name in named if name not in code}


TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("document", ["notebook-behaviour.md", "faults.md"])
def test_the_tests_that_the_promises_name_exist(document: str) -> None:
    text = (source.ROOT / "docs" / document).read_text(encoding="utf-8")
    named = set(TEST_ID.findall(text))
    missing = [
        f"{path}::{name}" for path, name in sorted(named)
        if not (source.ROOT / path).exists()
        or f"\ndef {name}(" not in (source.ROOT / path).read_text(encoding="utf-8")
    ]  # fmt: skip
    assert named
    assert not missing, "\n".join(missing)


def test_every_numbered_fault_has_a_test() -> None:
    text = (source.ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| [AB]?\d", line)]
    numbers = {row[0].removeprefix("| ") for row in rows}
    missing = {str(number) for number in range(1, 57)} - numbers
    assert not missing, missing
    assert not [row[:2] for row in rows if not TEST_ID.search(row[-1])]


def test_every_promise_has_a_test_or_a_figure() -> None:
    text = (source.ROOT / "docs" / "notebook-behaviour.md").read_text(encoding="utf-8")
    promises = text[: text.index("## Beside ")]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and "| shown by |" not in line]
    bare = [row for row in rows if not TEST_ID.search(row) and not row.endswith("| figures below |")]
    assert len(rows) > 50
    assert not bare, "\n".join(bare)


#: Bases, which nobody sees by themselves.
BASES = {"RayError", "RayActorError", "AsyncioActorExit"}


def test_each_error_that_raynb_raises_is_in_troubleshooting() -> None:
    code = [m.path.read_text(encoding="utf-8") for m in source.modules() if m.part != "exceptions"]
    words = {word for text in code for word in re.findall(r"\w+", text)}
    explained = re.findall(r"`(\w+)", (source.ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))
    raised = words & set(exceptions.__all__) - BASES
    assert len(raised) > 15
    assert raised <= set(explained), sorted(raised - set(explained))


def reference() -> Any:
    sys.path.insert(0, str(source.ROOT / "scripts"))
    try:
        import make_reference
    finally:
        sys.path.pop(0)
    return make_reference


def test_the_reference_describes_every_option_and_setting_and_magic() -> None:
    from raynb.api.checks.option_texts import OPTION_TEXTS
    from raynb.api.options import OPTIONS
    from raynb.jupyter.config import Raynb

    made = reference()
    assert set(OPTION_TEXTS) == {name for name in OPTIONS if not name.startswith("_")}
    pages = made.pages()
    assert all(f"`{name}`" in pages["options"] for name in OPTION_TEXTS)
    assert all(f"`Raynb.{name}`" in pages["settings"] for name in Raynb.class_own_traits(config=True))
    for title in ("%%remote", "%%actor", "%%on", "%%everywhere", "%remote", "%get", "%raynb"):
        assert f"## `{title}`" in pages["magics"], title
    assert "--stop-on-error" in pages["magics"]
    assert "raynb.get\n" in pages["api"]
    assert all(f"raynb.util.{home}\n" in pages["api"] for home in raynb.util._HOMES.values())


def test_every_notebook_is_a_tutorial_of_the_site() -> None:
    made = reference()
    assert sorted(made.tutorials()) == sorted(path.stem for path in (source.ROOT / "notebooks").glob("*.ipynb"))
    assert set(made.TUTORIALS) <= set(made.tutorials())
