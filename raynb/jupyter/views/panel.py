"""The kernel's side of the JupyterLab panel: one comm, opened when the extension is loaded.

The front end may come first or last. If it is there, it hears the comm open; if it comes later
(a page reload, an extension loaded from the configuration before any page exists), it finds the
comm by asking for the target's name. Either way it says ``hello``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine
from raynb.jupyter.views import messages, series
from raynb.jupyter.views.channel import QUICK, Conversation, listen_on_control, take_any_subshell
from raynb.jupyter.views.feed import Feed, shared
from raynb.jupyter.views.labels import notebook_labels
from raynb.jupyter.views.view_model import Labels

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

TARGET = "raynb"


class LabPanel:
    """The comm and the conversation on it.

    Args:
        comm: an open comm of target ``TARGET``.
        feed: where the picture comes from.
        peek: returns the engine that runs, or None.
        configure: takes what a person has set in the front end.
        kernel: the kernel, whose control channel the front end may use.
    """

    def __init__(
        self, comm: Any, feed: Feed, peek: Callable[[], DriverEngine | None] = engines.driver,
        configure: Callable[[str], None] | None = None, kernel: Any = None,
    ) -> None:  # fmt: skip
        self._comm = comm
        self._leave = listen_on_control(kernel, comm, self._request) if kernel is not None else None
        lease = take_any_subshell(comm) or self._leave is not None
        self.conversation = Conversation(feed, comm.send, peek, lease, configure=configure)
        comm.on_msg(lambda message: self.conversation.receive(message["content"]["data"]))
        comm.on_close(lambda message: self.conversation.close())

    def _request(self, request: object) -> None:
        """Handles a message on the control thread, which also handles interrupts: slow work goes elsewhere."""
        if isinstance(request, dict) and request.get("do") in QUICK:
            self.conversation.receive(request)
            return
        receive = self.conversation.receive
        threading.Thread(target=receive, args=(request,), name="raynb-request", daemon=True).start()

    def close(self) -> None:
        """Ends the conversation and closes the comm."""
        if self._leave is not None:
            self._leave()
        self.conversation.close()
        self._comm.close()


def open_panel(
    shell: InteractiveShell, feed: Feed | None = None, configure: Callable[[str], None] | None = None
) -> LabPanel | None:
    """Opens the panel's comm; returns None where there is no kernel (a plain terminal).

    Args:
        shell: the IPython shell.
        feed: the feed to use; default the process's.
        configure: takes what a person has set in the front end.
    """
    if getattr(shell, "kernel", None) is None:
        return None
    from comm import create_comm

    comm = create_comm(target_name=TARGET, data={"v": messages.VERSION})
    return LabPanel(comm, feed or shared(), configure=configure, kernel=shell.kernel)


def attach_views(
    shell: InteractiveShell, cell: Callable[[int], str], configure: Callable[[str], None] | None = None,
    stale: Callable[[int], str] = lambda task: "", graph: Callable[[], str] = str, graphed: Callable[[], int] = int,
    title: Callable[[int], str] = lambda task: "", on_names: list[Callable[[], None]] | None = None,
) -> Callable[[], None]:  # fmt: skip
    """Connects a shell with the views: labels for the feed, and the panel's comm.

    The feed itself stays: dashboards that are open go on with the next runtime.

    Args:
        shell: the IPython shell.
        cell: scope → ``"In[5]"``, or ``""`` when unknown.
        configure: takes what a person has set in the front end.
        stale: task → why what it has made is no longer true.
        graph, graphed, title: as in `Labels`.
        on_names: what is called when titles have changed.

    Returns:
        What undoes it, for when the extension is unloaded.
    """
    feed = shared(notebook_labels(shell, cell, stale, graph, graphed, title))
    panel = open_panel(shell, feed, configure)

    stop_recording = series.record()
    if on_names is not None:
        on_names.append(feed.retell)

    def undo() -> None:
        stop_recording()
        if on_names is not None:
            on_names.remove(feed.retell)
        feed.labels = Labels()
        if panel is not None:
            panel.close()

    return undo
