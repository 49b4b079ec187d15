"""The stacks that a process writes by a signal are read when they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from raynb.run.inspection.dumps import Dump

TEXT = b"""Current thread 0x00007f9f9af196c0 (most recent call first):
  File "threading.py", line 982 in run
  File "threading.py", line 1002 in _bootstrap

Thread 0x00007f9f9cbf1b80 (most recent call first):
  File "cell.py", line 8 in work
  File "main.py", line 264 in main
  File "<string>", line 1 in <module>
"""


def answer_in(path: Path) -> Dump:
    dump = Dump(0)
    dump._path = str(path)
    return dump


def test_an_answer_is_whole_when_its_last_byte_is_there(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    dump = answer_in(path)
    assert not dump.whole()
    for size in range(len(TEXT)):
        path.write_bytes(TEXT[:size])
        assert not dump.whole(), TEXT[:size]
    path.write_bytes(TEXT)
    assert dump.whole()
    main = dump.stacks()[0]
    assert main.main
    assert main.frames[-1] == ("cell.py", 8, "work")


@pytest.mark.parametrize("last", [b"  ...", b'  File "<frozen runpy>", line 88 in _run_module_as_main'])
def test_so_is_one_that_ends_in_another_way(tmp_path: Path, last: bytes) -> None:
    path = tmp_path / "stacks"
    path.write_bytes(TEXT.replace(b'  File "<string>", line 1 in <module>', last))
    assert answer_in(path).whole()
