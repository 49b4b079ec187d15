"""debugpy in this process, for editors that speak the debug adapter protocol, at a socket that only this user can open.

debugpy itself listens on a port of this machine, which every user of it could open. Here it gets a Unix socket, in the
runtime's folder for this user alone, in the place of that port.

Thread contract: `serve` in a thread of ours, one at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading
from collections.abc import Iterator
from types import ModuleType

SOCKET_SECONDS = 30.0  # that debugpy's own thread may take to begin
PATH_MAX_BYTES = 107  # of a socket's name, on Linux

_lock = threading.Lock()
_served = ""


def serve(path: str) -> str:
    """Has debugpy listen at a socket in this process; returns where it does, which is where it did before.

    Raises:
        ValueError: debugpy is not installed, or refuses.
    """
    global _served
    with _lock:
        if not _served:
            _listen(path)
            _served = path
        return _served


def _listen(path: str) -> None:
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        raise ValueError(f"the name of the socket, {path}, is longer than the system takes; "
                         "give init(object_spilling_directory=...) a shorter folder")  # fmt: skip
    # It would warn on stderr that a breakpoint in a module of Python's own may be missed.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        import debugpy.server.api  # it puts its own pydevd in place

        pydevd = importlib.import_module("pydevd")
    except ImportError as error:
        raise ValueError(f"debugpy is not installed here ({error}): `%pip install 'raynb[debug]'`") from None
    for thread in threading.enumerate():
        if thread.name.startswith("raynb-"):  # a task that stops in the editor must not stop those
            vars(thread)["pydev_do_not_trace"] = True
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)  # the folder is this user's alone, so nobody comes in before the next line
        os.chmod(path, 0o600)
        listening.listen(1)  # pydevd does it again, but only after the answer that it is there
        with _in_place_of_port(pydevd, listening):
            pydevd.settrace(
                host="127.0.0.1", port=0, suspend=False, wait_for_ready_to_run=False, block_until_connected=False,
                dont_trace_start_patterns=(os.path.dirname(debugpy.__file__),),
                dont_trace_end_patterns=("debugpy_launcher.py",), notify_stdin=False,
            )  # fmt: skip
    except BaseException:
        listening.close()
        with contextlib.suppress(OSError):  # else the next try finds the name in use
            os.unlink(path)
        raise


@contextlib.contextmanager
def _in_place_of_port(pydevd: ModuleType, listening: socket.socket) -> Iterator[None]:
    """pydevd has no option for a Unix socket: it is given one where it makes its own."""
    made, given = pydevd.create_server_socket, threading.Event()

    def create_server_socket(host: str, port: int) -> socket.socket:
        given.set()
        return listening

    vars(pydevd)["create_server_socket"] = create_server_socket
    try:
        yield
        if not given.wait(SOCKET_SECONDS):
            raise ValueError("debugpy did not begin to listen")
    finally:
        vars(pydevd)["create_server_socket"] = made
