"""A kernel to which JupyterLab's debugger is attached: debugpy changes how processes are started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


def debug(session: KernelSession, number: int, command: str, **arguments: Any) -> dict[str, Any]:
    """Sends what JupyterLab sends when the debugger is turned on; returns the answer."""
    client = session.client
    content = {"type": "request", "command": command, "seq": number, "arguments": arguments}
    message = client.session.msg("debug_request", content)
    client.control_channel.send(message)
    while command != "attach":  # answered when the configuration is done
        reply = client.get_control_msg(timeout=120)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return reply["content"]  # type: ignore[no-any-return]
    return {}


def test_a_runtime_starts_with_the_debugger_on(tmp_path: Path) -> None:
    session = KernelSession(tmp_path)
    try:
        answer = debug(session, 1, "initialize", clientID="jupyterlab", adapterID="", pathFormat="path",
                       linesStartAt1=True, columnsStartAt1=True)  # fmt: skip
        assert answer["success"], answer
        debug(session, 2, "attach")
        debug(session, 3, "setBreakpoints", source={"path": "/nowhere.py"}, breakpoints=[], sourceModified=False)
        assert debug(session, 4, "configurationDone")["success"]
        changed = session.run("import _posixsubprocess\nprint(_posixsubprocess.fork_exec)")
        assert "new_fork_exec" in changed.text  # by debugpy
        session.run("%load_ext raynb\nimport raynb as ray", timeout=120)
        run = session.run("print(ray.get([ray.remote(lambda: 5).remote() for _ in range(3)]))", timeout=120)
        assert run.text == "[5, 5, 5]\n"
    finally:
        session.close()
