"""Which release a module is of, and which workers may have loaded another state of one."""

from __future__ import annotations

import ast
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base import engine as engines
from raynb.keeping import generations, releases, versions
from raynb.keeping.generations import VARIABLE, options_for
from raynb.keeping.versions import Unsure, Watched, folders_in, import_token, module_token, watching
from raynb.lineage import modules


def distribution(root: Path, name: str, version: str, *, files: tuple[str, ...] = (), **more: str) -> Path:
    """Writes what an installer writes of a distribution."""
    folder = root / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: no\n")
    if files:
        (folder / "RECORD").write_text("".join(f"{file},sha256=x{version},1\n" for file in files))
    for file, text in more.items():
        (folder / file.replace("__", ".")).write_text(text)
    return folder


def test_the_distributions_that_have_a_module_are_found_by_their_lists_of_files(tmp_path: Path) -> None:
    root = tmp_path / "site-packages"
    distribution(root, "PyYAML", "6.0", files=("yaml/__init__.py", "_yaml/__init__.py"))
    distribution(root, "opencv-python", "4.1", files=("cv2/__init__.py",))
    distribution(root, "opencv-headless", "4.2", files=("cv2/__init__.py", "cv2/x.so"))  # installed over the other
    distribution(root, "one-file", "1.0", files=("six.py",))
    distribution(root, "compiled", "2.0", files=("fast.cpython-311-x86_64-linux-gnu.so",))
    distribution(root, "google-a", "1.1", files=("google/a/__init__.py",))
    distribution(root, "google-b", "1.2", files=("google/b/__init__.py",))
    distribution(root, "pywin", "300", files=("win32/lib/deep.py",))
    distribution(root, "no-record", "7.0", top_level__txt="declared\nother\n")
    distribution(root, "Only.Named", "8.0")
    (root / "old_file-0.1.egg-info").write_text("Name: old-file\nVersion: 0.1\n")

    def version(top: str, place: str) -> str:
        return releases.find(top, (str(root / place),))[0]

    assert version("yaml", "yaml/__init__.py") == "PyYAML 6.0"
    assert version("cv2", "cv2/__init__.py") == "opencv-headless 4.2,opencv-python 4.1"
    assert version("six", "six.py") == "one-file 1.0"
    assert version("fast", "fast.cpython-311-x86_64-linux-gnu.so") == "compiled 2.0"
    assert version("google", "google") == "google-a 1.1,google-b 1.2"
    assert version("deep", "win32/lib/deep.py") == "pywin 300"
    assert version("declared", "declared/__init__.py") == "no-record 7.0"
    assert version("only_named", "only_named.py") == "Only.Named 8.0"
    assert version("old_file", "old_file.py") == "old-file 0.1"
    assert version("unknown", "unknown.py") == ""
    assert releases.find("unknown", (str(tmp_path / "elsewhere.py"),)) == ("", ())


def test_what_was_installed_from_a_folder_counts_by_its_files_too(tmp_path: Path) -> None:
    seen = []
    for number in (1, 2):
        root = tmp_path / f"v{number}" / "site-packages"
        folder = distribution(root, "mine", "0.1", direct_url__json="{}")
        (folder / "RECORD").write_text(f"mine/__init__.py,sha256={number},9\nmine-0.1.dist-info/METADATA,sha256=0,1\n")
        text, files = releases.find("mine", (str(root / "mine" / "__init__.py"),))
        seen.append(text)
        assert files == (str(folder / "METADATA"),)
    assert all(text.startswith("mine 0.1 ") for text in seen)
    assert seen[0] != seen[1]


def test_installed_modules_have_the_versions_that_the_standard_library_finds() -> None:
    wanted = {"numpy": "numpy", "yaml": "PyYAML", "IPython": "ipython", "dateutil": "python-dateutil", "zmq": "pyzmq"}
    for top, name in wanted.items():
        pytest.importorskip(top)
        assert module_token(top) == f"{top}=={metadata.metadata(name)['Name']} {metadata.version(name)}"


def test_folders_of_modules_are_looked_through_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_MAX_ENTRIES", 8)
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(2):
            (tmp_path / folder / f"{number}.txt").touch()
    assert len(list(folders_in(str(tmp_path)))) == 4
    (tmp_path / "b" / "more.txt").touch()
    with pytest.raises(Unsure, match="more than 8 files and folders"):
        list(folders_in(str(tmp_path)))
    assert sum(len(names) for _, names in folders_in(str(tmp_path), hidden=True)) == 5


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_module_that_cannot_be_looked_through_is_unsure(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(text: bytes) -> Any:
        raise error

    for module in (versions, modules):  # which of them it is depends on Python's version
        monkeypatch.setattr(module, "ast", SimpleNamespace(**{**vars(ast), "parse": parse}))
    (tmp_path / "keeping_deep.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unsure, match="nested too deeply"):
        import_token("keeping_deep")
    assert modules.Modules().token("keeping_deep").startswith("keeping_deep ")


START = 1_700_000_000_000_000_000


class Driver:
    job_env: dict[str, Any] = {}

    def __init__(self, nonce: int, local_mode: bool = False, **environment: str) -> None:
        self.nonce = nonce
        self.driver = self
        self.config = SimpleNamespace(local_mode=local_mode)
        engines.starts[self] = engines.Start(START, environment)  # type: ignore[index]


def watched(files: dict[str, int], *variables: str) -> Watched:
    """Returns what has gone into a key: file → its ctime, seconds after the start of the runtime."""
    found = Watched()
    found.update({file: (1, 0, START + at * 1_000_000_000, 0) for file, at in files.items()})
    found.variables.update(variables)
    return found


def test_what_was_edited_since_workers_could_load_it_runs_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "_generations", {})
    driver: Any = Driver(3)

    def number(**files: int) -> str:
        """Returns the number of the workers that a task whose key has these modules runs on."""
        found = options_for(driver, watched({f"/{name}.py": at for name, at in files.items()}), {"num_cpus": 1}, True)
        assert found["num_cpus"] == 1
        return str(found.get("runtime_env", {}).get("env_vars", {}).get(VARIABLE, ""))

    assert number(a=-60, b=-5) == ""
    assert number(a=-60) == ""
    assert number(a=60) == "1"  # edited
    assert number(a=60, b=-5) == "1"
    assert number(c=-3) == number(b=-5) == number() == ""  # nobody has edited it
    assert number(a=-60) == "2"  # edited back
    assert number(d=10**9) == "3"  # nobody knows what it was before
    assert number(d=10**9) == number(a=-60, d=10**9) == "3"
    assert number(a=-60) == "2"
    assert number(e=120) == number(e=120) == "3"  # before those workers were started, not before all
    assert number(e=120, b=-5) == "3"
    data = options_for(driver, watched({"/data.csv": 10**9}), {}, True)
    assert data == {}
    mine: dict[str, Any] = {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1"}}}
    found = options_for(driver, watched({"/d.py": 10**9}), mine, True)
    assert found == {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1", VARIABLE: "3"}}}
    assert mine == {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1"}}}
    other: Any = Driver(4)
    assert options_for(other, watched({}), mine, True) == mine


def test_a_module_that_is_another_file_than_before_runs_on_other_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "_generations", {})
    driver: Any = Driver(7)
    engines.starts[driver] = engines.Start(time.time_ns() + 60_000_000_000, {})  # both files are older
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "keeping_placed.py").write_text(f"PLACE = {folder!r}\n")

    def number(folder: str) -> str:
        """Returns the number of the workers for a key with the module, where a folder comes first."""
        with monkeypatch.context() as patch, watching() as key:
            patch.syspath_prepend(str(tmp_path / folder))
            assert module_token("keeping_placed").startswith("keeping_placed@")
        found = options_for(driver, key, {}, True)
        return str(found.get("runtime_env", {}).get("env_vars", {}).get(VARIABLE, ""))

    assert [number(folder) for folder in ("one", "one", "two", "two", "one")] == ["", "", "1", "1", "2"]


def test_a_key_is_unsure_where_workers_are_not_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "_generations", {})
    monkeypatch.setenv("KEPT_A", "1")
    started: Any = Driver(5, KEPT_A="1")
    key = watched({}, "KEPT_A")
    assert options_for(started, key, {}, False) == {}
    monkeypatch.setenv("KEPT_A", "2")
    with pytest.raises(Unsure, match="KEPT_A as it was when the runtime was started"):
        options_for(started, key, {}, False)
    assert options_for(started, key, {}, True) == {}
    given = {"runtime_env": {"env_vars": {"KEPT_A": "3"}}}
    assert options_for(started, key, given, False) == given
    inside: Any = Driver(6, True)
    with pytest.raises(Unsure, match="local_mode"):
        options_for(inside, watched({}), {}, True)
