"""What a cell shows of what its tasks print."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raynb.base.rows import Output
from raynb.jupyter.formatting import short_task
from raynb.jupyter.output.folding import Action, CellOutput, Line, Rich, Text, prefix_of


def said(text: str, task: int = 1, kind: str = "stdout", name: str = "f") -> Output:
    return Output(kind, task, 5, 1, 100, name, text=text)


def shown(text: str = "x", task: int = 1, kind: str = "display") -> Output:
    return Output(kind, task, 5, 1, 100, "f", bundle={"data": {"text/plain": text}})


def plain(actions: list[Action]) -> str:
    text = "".join(a.text for a in actions if isinstance(a, Text))
    return text.replace("\x1b[2m", "<").replace("\x1b[0m", ">")


def test_one_task_speaks_without_prefix_and_at_once() -> None:
    cell = CellOutput("5")
    assert cell.add([said("a\nb")]) == [Text("stdout", "a\nb")]
    assert cell.add([said("c\n")]) == [Text("stdout", "c\n")]
    assert cell.add([said("oh\n", kind="stderr"), said("1\n"), said("2\n")]) == [
        Text("stderr", "oh\n"),
        Text("stdout", "1\n2\n"),
    ]


def test_several_tasks_speak_in_whole_lines_with_prefixes() -> None:
    cell = CellOutput("5")
    actions = cell.add([said("a1 "), said("b1\n", task=2), said("a2\n"), said("b2", task=2)])
    assert plain(actions) == "a1 \n<f#2> b1\n<f#1> a2\n"
    assert plain(cell.flush_lines()) == "<f#2> b2"
    assert plain(cell.add([said("!\n", task=2), said("end\n")])) == "!\n<f#1> end\n"


def test_prefixes_from_the_first_line_when_the_cell_has_many_tasks() -> None:
    cell = CellOutput("5")
    assert plain(cell.add([said("a\n")], many=True)) == "<f#1> a\n"


def test_names_in_prefixes() -> None:
    assert prefix_of(said("", task=12)) == "f#12"
    assert prefix_of(said("", name="main.<locals>.work", task=3)) == "work#3"
    assert prefix_of(Output("stdout", 9, 0, 1, 1, "Counter.add", actor=4)) == "Counter#4"
    assert short_task((3 << 40) + 7) == "3.7"


def test_the_rest_is_folded_into_one_line_that_counts() -> None:
    cell = CellOutput("5", limit=3, hint=" (all: %raynb logs)")
    assert plain(cell.add([said("1\n2\n3\n4\n5\n")])) == "1\n2\n3\n"
    assert cell.flush_lines() == [Line("5-fold", "… and 2 more lines (all: %raynb logs)", False)]
    assert cell.add([said("6\n" * 10)]) == []
    assert cell.flush_lines() == [Line("5-fold", "… and 12 more lines (all: %raynb logs)", True)]
    assert cell.flush_lines() == []
    assert cell.add([shown()]) == []
    assert cell.hidden == 13


def test_a_line_begun_before_the_limit_is_ended() -> None:
    cell = CellOutput("5", limit=1)
    assert plain(cell.add([said("one ")])) == "one "
    assert plain(cell.add([said("two\nthree\n")])) == "two\n"
    assert cell.hidden == 1


def test_one_line_a_progress_bar() -> None:
    cell = CellOutput("5")
    key = "5-f#1-stderr-1"
    assert cell.add([said("\r  0%|   |", kind="stderr")]) == [Line(key, "  0%|   |", False)]
    assert cell.add([said("\r 50%|#  |", kind="stderr"), said("\r 60%|#  |", kind="stderr")]) == [
        Line(key, " 60%|#  |", True)
    ]
    assert cell.add([said("\r100%|###|\n", kind="stderr")]) == [Line(key, "100%|###|", True, True)]
    assert cell.add([said("after\n", kind="stderr")]) == [Text("stderr", "after\n")]
    assert cell.add([said("\r 1/9", kind="stderr")]) == [Line("5-f#1-stderr-2", " 1/9", False)]


def test_nested_bars_are_one_line_each() -> None:
    cell = CellOutput("5")
    lines: dict[str, str] = {}
    outer, inner = "5-f#1-stderr-1", "5-f#1-stderr-2"
    drawn = ("\router 0%", "\n", "\rinner 0%", "\x1b[A", "\n\rinner 50%\x1b[A", "\router 50%", "\n\r      \r\x1b[A")
    for text in drawn:
        for line in cell.add([said(text, kind="stderr")]):
            assert isinstance(line, Line)
            assert line.update == (line.key in lines)
            lines[line.key] = line.text
        assert set(lines) <= {outer, inner}
    assert lines == {outer: "outer 50%", inner: ""}
    last = cell.add([said("\router 100%\n", kind="stderr"), said("done\n", kind="stderr")])
    assert last == [Line(outer, "outer 100%", True, True), Text("stderr", "done\n")]


def test_bars_of_two_tasks_do_not_mix() -> None:
    cell = CellOutput("5")
    actions = cell.add([said("\r10%", 1), said("\r20%", 2), said("\r30%", 1)], many=True)
    assert [(a.key, a.text[-3:], a.update) for a in actions if isinstance(a, Line)] == [
        ("5-f#1-stdout-1", "30%", False),
        ("5-f#2-stdout-1", "20%", False),
    ]


def test_windows_line_ends_are_lines() -> None:
    assert CellOutput("5").add([said("a\r\nb\r\n")]) == [Text("stdout", "a\nb\n")]


def test_displays_keep_their_place_among_the_lines() -> None:
    cell = CellOutput("5")
    assert cell.add([said("before"), shown(), said("after\n")]) == [
        Text("stdout", "before\n"),
        Rich("display", {"data": {"text/plain": "x"}}),
        Text("stdout", "after\n"),
    ]
    assert cell.add([shown(kind="update_display")])[0] == Rich(
        "update_display", {"data": {"text/plain": "x"}}
    )


def test_clearing_begins_anew() -> None:
    cell = CellOutput("5", limit=2)
    cell.add([said("1\n2\n")])
    assert plain(cell.add([shown(kind="clear"), said("3\n")])) == "3\n"


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["stdout", "stderr"]),
                       st.text("ab\n", max_size=6)), max_size=30),
    st.integers(0, 12),
)  # fmt: skip
def test_every_line_is_shown_or_counted(pieces: list[tuple[int, str, str]], limit: int) -> None:
    cell = CellOutput("5", limit=limit)
    actions: list[Action] = []
    whole: dict[tuple[int, str], str] = {}
    for task, kind, text in pieces:
        actions += cell.add([said(text, task, kind)], many=True)
        whole[task, kind] = whole.get((task, kind), "") + text
    expected: list[str] = []
    for (task, kind), text in whole.items():
        actions += cell.add([said("\n", task, kind)], many=True)  # ends what is unfinished
        expected += [f"{kind} \x1b[2mf#{task}\x1b[0m {line}" for line in (text + "\n").split("\n")[:-1]]
    seen = [f"{a.stream} {line}" for a in actions if isinstance(a, Text) for line in a.text.splitlines()]
    assert len(seen) == cell.shown == min(limit, len(expected))
    assert cell.shown + cell.hidden == len(expected)
    if cell.hidden == 0:
        assert sorted(seen) == sorted(expected)
