"""Which release a module is of, and which workers may have loaded another state of one."""

from __future__ import annotations

import ast
import importlib
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base import engine as engines
from raynb.base.process import module_path
from raynb.keeping import generations, releases, versions
from raynb.keeping.generations import VARIABLE, facts_around, options_for
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
FOLLOWS = ("path", "cwd", "env")


class Driver:
    job_env: dict[str, Any] = {}

    def __init__(self, nonce: int, local_mode: bool = False, **environment: str) -> None:
        self.nonce = nonce
        self.driver = self
        self.config = SimpleNamespace(local_mode=local_mode)
        engines.starts[self] = engines.Start(START, environment)  # type: ignore[index]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runtime has kept anything, and nothing has taken a module path along."""
    monkeypatch.setattr(generations, "_generations", {})
    monkeypatch.setattr(module_path, "taken", {})
    monkeypatch.setattr(module_path, "lay", {})


def watched(files: dict[str, int], *variables: str) -> Watched:
    """Returns what has gone into a key: file → its ctime, seconds after the start of the runtime."""
    found = Watched()
    found.update({file: (1, 0, START + at * 1_000_000_000, 0) for file, at in files.items()})
    found.variables.update(variables)
    return found


def number_of(driver: Any, key: Watched) -> str:
    """Returns the number of the workers that a task with this key runs on; empty: any."""
    found = options_for(driver, key, {"num_cpus": 1}, FOLLOWS)
    assert found["num_cpus"] == 1
    return str(found.get("runtime_env", {}).get("env_vars", {}).get(VARIABLE, ""))


def test_what_was_edited_since_workers_could_load_it_runs_on_others() -> None:
    driver: Any = Driver(3)

    def number(**files: int) -> str:
        return number_of(driver, watched({f"/{name}.py": at for name, at in files.items()}))

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
    assert number_of(driver, watched({"/pandas-2.dist-info/METADATA": 10**10})) == "4"  # installed since
    data = options_for(driver, watched({"/data.csv": 10**9}), {}, FOLLOWS)
    assert data == {}
    mine: dict[str, Any] = {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1"}}}
    found = options_for(driver, watched({"/d.py": 10**9}), mine, FOLLOWS)
    assert found == {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1", VARIABLE: "3"}}}
    assert mine == {"runtime_env": {"working_dir": "/x", "env_vars": {"A": "1"}}}
    other: Any = Driver(4)
    assert options_for(other, watched({}), mine, FOLLOWS) == mine


class Places:
    """A runtime that was started when all files were as old as they are now, whatever is moved since."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        for name in ("one", "two", "three"):
            (folder / name).mkdir()
        patch.setattr(sys, "path", [str(folder / "one"), *sys.path])
        patch.setattr(generations, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + 120_000_000_000))
        self.driver: Any = Driver(7)

    def write(self, path: str, text: str = "") -> None:
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text)

    def begin(self) -> None:
        path = module_path.now()
        start = engines.Start(time.time_ns() + 60_000_000_000, {}, path, module_path.contents(path))
        engines.starts[self.driver] = start

    def leads_to(self, *names: str, taken: bool = True) -> None:
        """Has the module path begin with these folders; a cell without ``--keep`` takes it along."""
        rest = [entry for entry in sys.path if not entry.startswith(str(self.folder))]
        self.patch.setattr(sys, "path", [*(str(self.folder / name) for name in names), *rest])
        if taken:
            module_path.took()

    def number(self, name: str = "keeping_p") -> str:
        importlib.invalidate_caches()
        with watching() as key:
            import_token(name)
        return number_of(self.driver, key)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


def test_a_module_that_is_another_file_than_before_runs_on_other_workers(places: Places) -> None:
    for folder in ("one", "two"):
        places.write(f"{folder}/keeping_p.py", f"PLACE = {folder!r}\n")
    places.begin()
    found = []
    for folder in ("one", "one", "two", "two", "one"):
        places.leads_to(folder, taken=False)
        found.append(places.number())
    assert found == ["", "", "1", "1", "2"]


def test_a_module_that_plain_cells_may_have_loaded_from_elsewhere_runs_on_other_workers(places: Places) -> None:
    for path in ("one/keeping_p.py", "two/keeping_p.py", "one/keeping_q.py", "three/keeping_r.py", "one/keeping_t.py"):
        places.write(path)
    places.write("three/keeping_s.py", "try:\n    import keeping_t\nexcept ImportError:\n    pass\n")
    places.begin()
    places.leads_to("one")
    assert places.number() == ""
    places.leads_to("two")  # a cell has loaded it
    places.leads_to("one")
    assert [places.number(), places.number()] == ["1", "1"]  # and is back
    assert places.number("keeping_q") == ""  # is where it was, whenever it was
    places.leads_to("one", "three")
    assert places.number("keeping_r") == ""  # was nowhere, so nobody has loaded another one
    places.leads_to("two", "one")
    assert places.number("keeping_q") == ""
    assert places.number() == "2"
    places.leads_to("three")  # a cell has loaded it without the other
    places.leads_to("three", "one")
    assert places.number("keeping_s") == "2"
    module_path.taken.update(dict.fromkeys([(str(number),) for number in range(module_path.MAX_PATHS + 1)]))
    assert places.number("keeping_q") == "2"  # nobody knows


def from_package_to_file(places: Places) -> None:
    shutil.rmtree(places.folder / "one" / "keeping_p")


def exchange_folders(places: Places) -> None:
    (places.folder / "one").rename(places.folder / "away")
    (places.folder / "two").rename(places.folder / "one")


def exchange_packages(places: Places) -> None:
    (places.folder / "one" / "keeping_p").rename(places.folder / "away")
    (places.folder / "two" / "keeping_p").rename(places.folder / "one" / "keeping_p")


def exchange_links(places: Places) -> None:
    (places.folder / "link").unlink()
    (places.folder / "link").symlink_to(places.folder / "two", target_is_directory=True)


def remove_from_the_first_folder(places: Places) -> None:
    places.leads_to("one", "two", taken=False)
    shutil.rmtree(places.folder / "one" / "keeping_p")
    (places.folder / "one" / "keeping_p.py").unlink()


@pytest.mark.parametrize(
    "move", [from_package_to_file, exchange_folders, exchange_packages, exchange_links, remove_from_the_first_folder]
)
def test_modules_that_were_moved_since_workers_could_load_them_run_on_others(
    move: Callable[[Places], None], places: Places
) -> None:
    for folder in ("one", "two"):
        places.write(f"{folder}/keeping_p/__init__.py")
        places.write(f"{folder}/keeping_p.py")
    (places.folder / "link").symlink_to(places.folder / "one", target_is_directory=True)
    first = ("link",) if move is exchange_links else ("one", "two")
    places.leads_to(*first, taken=False)
    places.begin()
    places.leads_to(*first)
    move(places)
    assert [places.number(), places.number()] == ["1", "1"]


def test_a_part_of_a_package_that_came_or_went_runs_on_other_workers(places: Places) -> None:
    places.write("one/keeping_p/__init__.py", "try:\n    from keeping_p import fast\nexcept ImportError:\n    pass\n")
    places.write("one/keeping_p/fast.py")
    places.begin()
    found = [places.number()]
    (places.folder / "one" / "keeping_p" / "fast.py").rename(places.folder / "fast.py")
    found += [places.number(), places.number()]
    (places.folder / "fast.py").rename(places.folder / "one" / "keeping_p" / "fast.py")
    assert [*found, places.number()] == ["", "1", "1", "2"]


def test_a_key_is_unsure_where_workers_find_another_module(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("one/keeping_p.py", "two/keeping_p.py", "three/keeping_q.py"):
        places.write(path)
    places.begin()
    places.leads_to("two", "three")
    with watching() as key:
        import_token("keeping_p")
    with pytest.raises(Unsure, match=r"keeping_p where sys\.path led to when the runtime was started"):
        options_for(places.driver, key, {}, ["env"])
    assert options_for(places.driver, key, {}, FOLLOWS)
    monkeypatch.setitem(sys.modules, "keeping_p", None)
    del sys.modules["keeping_p"]
    importlib.import_module("keeping_p")
    assert import_token("keeping_p").startswith("keeping_p@")
    places.leads_to("one")
    with pytest.raises(Unsure, match="workers would find another one"):
        import_token("keeping_p")
    places.leads_to("three")
    with pytest.raises(Unsure, match="workers do not find it"):
        import_token("keeping_p")


def test_modules_count_whatever_they_are_called_and_however_they_are_imported(places: Places, tmp_path: Path) -> None:
    assert import_token("sched") == "sched"
    places.patch.delitem(sys.modules, "sched", raising=False)
    places.write("one/sched.py")  # Python has one of this name, too
    importlib.invalidate_caches()
    assert import_token("sched").startswith("sched@")
    places.write("one/keeping_p.py", "import importlib\nrate = importlib.import_module('keeping_q').RATE\n")
    seen = set()
    for rate in ("1", "22"):
        places.write("one/keeping_q.py", f"RATE = {rate}\n")
        seen.add(import_token("keeping_p"))
    assert len(seen) == 2
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("keeping_r.py", "")
    places.leads_to("one", "zipped.zip")
    places.write("one/keeping_p.py", "import keeping_r\n")
    with pytest.raises(Unsure, match="keeping_r has no file"):
        import_token("keeping_p")
    alone = tmp_path / "three" / "site-packages" / "keeping_s.py"  # no distribution says which release it is
    alone.parent.mkdir()
    alone.write_text("__version__ = '1'\n")
    places.leads_to("one", "three/site-packages")
    places.write("one/keeping_p.py", "import keeping_s as s\n")  # of another size: the clock of files may stand still
    before = [import_token("keeping_s"), import_token("keeping_p")]
    alone.write_text("__version__ = '1'\n\n")
    assert before[0].startswith("keeping_s==")
    assert import_token("keeping_s") != before[0]
    assert import_token("keeping_p") != before[1]  # a local module that imports it


def test_a_key_looks_for_each_module_once(places: Places) -> None:
    for part in ("__init__", "first", "second"):
        places.write(f"one/keeping_p/{part}.py", "import csv\nimport json\nimport keeping_q\n")
    places.write("one/keeping_q.py", "import json\n")
    importlib.invalidate_caches()
    looked: list[str] = []
    look = versions._spec_of

    def counted(name: str) -> Any:
        looked.append(name)
        return look(name)

    places.patch.setattr(versions, "_spec_of", counted)
    with watching():
        for name in ("keeping_p", "keeping_p.first", "keeping_p.second", "keeping_q"):
            import_token(name)
    assert sorted(looked) == ["csv", "json", "keeping_p", "keeping_q"]


def test_the_code_in_folders_of_the_runtime_env_counts(places: Places) -> None:
    places.write("two/keeping_p.py", "import keeping_q\n")
    places.write("two/site-packages/installed.py")
    places.write("one/keeping_q.py")
    places.write("three/keeping_r.py")
    inherits: Any = SimpleNamespace(job_env={"working_dir": str(places.folder / "two")})

    def facts() -> tuple[str, ...]:
        with watching() as key:
            found = facts_around(inherits, {"runtime_env": {"py_modules": [str(places.folder / "three")]}})
        assert {Path(path).name for path in key} == {"keeping_p.py", "keeping_q.py", "keeping_r.py"}
        return tuple(found)

    seen = {facts(), facts()}
    for path in ("two/keeping_p.py", "one/keeping_q.py", "three/keeping_r.py"):
        places.write(path, "import keeping_q\nx = 1\n")
        seen.add(facts())
    assert len(seen) == 4
    assert facts_around(inherits, {"runtime_env": {"working_dir": "s3://there/code.zip"}})
    assert facts_around(SimpleNamespace(job_env={}), {}) == []
    places.driver.job_env = {"working_dir": "two"}  # of a cluster: Ray has taken it where the runtime was started
    engines.starts[places.driver] = engines.Start(START, {}, folder=str(places.folder))
    assert f"{places.folder / 'two'}@" in facts_around(places.driver, {})[1]


def test_a_key_is_unsure_where_workers_are_not_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_A", "1")
    started: Any = Driver(5, KEPT_A="1")
    key = watched({}, "KEPT_A")
    assert options_for(started, key, {}, ()) == {}
    monkeypatch.setenv("KEPT_A", "2")
    with pytest.raises(Unsure, match="KEPT_A as it was when the runtime was started"):
        options_for(started, key, {}, ())
    assert options_for(started, key, {}, FOLLOWS) == {}
    given = {"runtime_env": {"env_vars": {"KEPT_A": "3"}}}
    assert options_for(started, key, given, ()) == given
    inside: Any = Driver(6, True)
    with pytest.raises(Unsure, match="local_mode"):
        options_for(inside, watched({}), {}, FOLLOWS)
