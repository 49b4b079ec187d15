"""JupyterLab in a browser, driven through its own application object."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page

import raynb

ROOT = Path(raynb.__file__).resolve().parent

#: Runs in the page: the notebook that is shown now.
CURRENT = """
    const app = window.jupyterapp;
    const panel = app.shell.currentWidget;
"""


class Server:
    """One server of JupyterLab (or Notebook 7: ``app="notebook"``) with folders of its own, on a port
    of its own choice.

    The prebuilt extension is found where ``pip install`` has put it, or in the source tree.
    """

    def __init__(self, folder: Path, app: str = "jupyterlab") -> None:
        self.folder = folder
        self.app = app
        self.work = folder / "work"
        self.work.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def environ(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        places = {
            "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
        }  # fmt: skip
        for name, place in places.items():
            (self.folder / place).mkdir(exist_ok=True)
            env[name] = str(self.folder / place)
        # No question about news in the way of the views, and no request to anywhere.
        quiet = self.folder / "settings" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True, exist_ok=True)
        (quiet / "notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}'
        )
        built = ROOT / "labextension"
        if (built / "package.json").exists():
            there = self.folder / "data" / "labextensions" / "raynb"
            shutil.copytree(built, there)
            env["JUPYTER_PATH"] = str(self.folder / "data")
        # Kernels start in the notebook's folder and import the same raynb as the test.
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT.parent), *env.get("PYTHONPATH", "").split(os.pathsep)])
        return env

    def start(self) -> None:
        name = "LabApp" if self.app == "jupyterlab" else "JupyterNotebookApp"
        command = [
            sys.executable, "-m", self.app, "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
            f"--{name}.expose_app_in_browser=True", f"--ServerApp.root_dir={self.work}",
        ]  # fmt: skip
        log = (self.folder / "server.log").open("wb")
        with log:
            self.process = subprocess.Popen(
                command, env=self.environ(), cwd=self.work, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while not self.url:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"JupyterLab did not start:\n{(self.folder / 'server.log').read_text()}")
            for info in (self.folder / "runtime").glob("jpserver-*.json"):
                try:
                    self.url = json.loads(info.read_text())["url"]
                except (ValueError, KeyError):  # half written
                    continue
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server as Ctrl-C does: it shuts its kernels down first."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def write(self, name: str, cells: list[str]) -> None:
        """Writes a notebook of code cells."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.work / name)


class Lab:
    """A page with JupyterLab, and what a person does in it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server

    def open(self, name: str, cells: list[str]) -> None:
        """Writes a notebook and opens it in a fresh workspace; returns when its kernel is idle."""
        self.server.write(name, cells)
        self.show(name)
        self.ready()

    def show(self, name: str) -> None:
        """Opens a notebook that is there; returns when it is shown, whatever its kernel does."""
        lab = f"lab/workspaces/{name.partition('.')[0]}/tree/{name}"
        self.page.goto(self.server.url + (lab if self.server.app == "jupyterlab" else f"notebooks/{name}"))
        self.wait_shown()

    def open_beside(self, name: str, cells: list[str]) -> None:
        """Opens another notebook in the same page."""
        self.server.write(name, cells)
        self.page.evaluate(
            "path => window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'})",
            name,
        )
        self.page.wait_for_function(
            "name => window.jupyterapp.shell.currentWidget?.context?.path === name", arg=name
        )
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext"
            "?.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )

    def reload(self) -> None:
        """Loads the page again; returns when the notebook is there, whatever its kernel does."""
        self.page.reload()
        self.wait_shown()

    def wait_shown(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.context?.isReady === true", timeout=60_000
        )

    def wait_file(self, name: str) -> None:
        """Waits until a task has made a file."""
        deadline = time.monotonic() + 60
        while not (self.server.work / name).exists():
            assert time.monotonic() < deadline, f"{name} was not made"
            time.sleep(0.01)

    def start(self, cell: int) -> None:
        """Runs a cell; doesn't wait for it."""
        self.page.evaluate(
            f"index => {{ {CURRENT} panel.content.activeCellIndex = index;"
            " void app.commands.execute('notebook:run-cell'); }",
            cell,
        )

    def run(self, cell: int) -> str:
        """Runs a cell to its end; returns its text output. A failed cell fails the test."""
        self.start(cell)
        self.wait_ended(cell)
        found = self.outputs(cell)
        assert not any(o["output_type"] == "error" for o in found), found
        return self.text(cell)

    def text(self, cell: int) -> str:
        """Returns what the cell printed (not bars and other displays)."""
        return "".join(o["text"] for o in self.outputs(cell) if o["output_type"] == "stream")

    def shown(self, cell: int) -> str:
        """Returns what the cell printed and displayed, as lines."""
        parts = []
        for output in self.outputs(cell):
            html = output.get("data", {}).get("text/html", "")
            parts.append(output["text"] if "text" in output else html.replace("<b>", "").replace("</b>", "\n"))
        return "".join(parts)

    def wait_ended(self, cell: int) -> None:
        self.page.wait_for_function(
            f"index => {{ {CURRENT} const cell = panel.content.widgets[index];"
            " return cell.model.executionCount > 0 && cell.model.executionState !== 'running'"
            " && !cell.promptNode?.textContent.includes('*'); }",
            arg=cell,
            timeout=60_000,
        )

    def is_running(self, cell: int) -> bool:
        """Whether the cell is running. (The kernel's status doesn't tell: it says idle after each
        message that a subshell handled.)"""
        state = f"index => {{ {CURRENT} return panel.content.widgets[index].model.executionState }}"
        return bool(self.page.evaluate(state, cell) == "running")

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        found = self.page.evaluate(
            f"index => {{ {CURRENT} const cell = panel.content.widgets[index];"
            " return JSON.stringify(cell.model.outputs.toJSON()) }",
            cell,
        )
        return list(json.loads(found))

    def output(self, cell: int) -> Any:
        """Returns a locator of the cell's output area."""
        return (
            self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
            .nth(cell)
            .locator(".jp-OutputArea")
        )

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Runs one of JupyterLab's commands and waits for it."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args ?? {}).then(() => {})",
            [name, arguments],
        )

    def wait_saved_layout(self, name: str) -> None:
        """Waits until JupyterLab has written a layout with the tab ``name`` to the server. (It does so
        some time after a change; a page that is reloaded before comes back as it was.)"""
        written = self.page.evaluate(
            """async name => {
                const { workspaces } = window.jupyterapp.serviceManager;
                for (let tries = 0; tries < 300; tries++) {
                    const { values } = await workspaces.list();
                    if (JSON.stringify(values.map(({ data }) => data['layout-restorer:data'])).includes(name)) {
                        return true;
                    }
                    await new Promise(resolve => setTimeout(resolve, 100));
                }
                return false;
            }""",
            name,
        )
        assert written, f"JupyterLab did not save a layout with {name}"

    def restart_kernel(self) -> None:
        self.page.evaluate(f"() => {{ {CURRENT} return panel.sessionContext.session.kernel.restart() }}")

    def end(self) -> None:
        """Shuts every kernel down; returns when the server has none."""
        self.page.evaluate(
            """async () => {
                const manager = window.jupyterapp.serviceManager.sessions;
                await manager.shutdownAll();
                await manager.refreshRunning();
            }"""
        )


def temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="raynb-lab-"))
