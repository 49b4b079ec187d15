"""JupyterLab in a browser, driven through its own application object."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import ElementHandle, Locator, Page

import raynb

ROOT = Path(raynb.__file__).resolve().parent
AXE = Path(__file__).parents[2] / "labextension" / "node_modules" / "axe-core" / "axe.min.js"

#: The Python of another environment, whose JupyterLab and Notebook the tests are to run on.
OTHER = os.path.abspath(os.environ["RAYNB_LAB"]) if os.environ.get("RAYNB_LAB") else ""

#: Runs in the page: the notebook that is shown now.
CURRENT = """
    const app = window.jupyterapp;
    const panel = app.shell.currentWidget;
"""

#: Runs in the page: whether `cell` is running (JupyterLab before 4.3 has only the prompt for it).
RUNNING = "cell.model.executionState === 'running' || !!cell.promptNode?.textContent.includes('*')"

#: Milliseconds that an expectation or a step of a page may take: a busy machine gets much patience (a kernel may take
#: more than a minute to start).
PATIENCE_MS = 120_000

#: Letters that a folder may have in whose runtime folder kernels listen at sockets: the system limits their names.
FOLDER_MAX = 45

#: Asks a server of this machine, whatever proxy the environment names.
_ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

#: Runs in a page: keeps the text of every message of the views, which take them away after some seconds.
HEAR = """
    window.said = [];
    new MutationObserver(() => {
        for (const toast of document.querySelectorAll('.rn-toast')) {
            const text = toast.firstChild?.textContent ?? '';
            if (window.said[window.said.length - 1] !== text) {
                window.said.push(text);
            }
        }
    }).observe(document, { subtree: true, childList: true, characterData: true });
"""


def wait_said(page: Page, text: str) -> None:
    """Waits until the views have said something that contains ``text``, though it may be gone again."""
    page.wait_for_function("text => window.said.some(one => one.includes(text))", arg=text)


def click_sure(button: Locator) -> None:
    """Clicks a button that asks once more, and says yes."""
    node = button.element_handle()
    node.click()
    say_sure(node)


def say_sure(node: ElementHandle) -> None:
    """Says yes to a button that asks once more. (The question goes away after some seconds, so the answer is given
    in the page, and the test doesn't have to be quick for it.)"""
    node.evaluate(
        """async node => {
            while (node.textContent !== 'Sure?') {
                if (!node.isConnected) {
                    throw new Error('the button is gone');
                }
                node.click();
                await new Promise(resolve => setTimeout(resolve, 20));
            }
            node.click();
        }"""
    )


class Server:
    """One server of JupyterLab (or Notebook 7: ``app="notebook"``) with folders of its own, on a port
    of its own choice.

    The prebuilt extension is found where ``pip install`` has put it, or in the source tree. ``RAYNB_LAB`` names the
    Python of another environment whose JupyterLab, Notebook and ipykernel are to be used.
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
        self.set("@jupyterlab/apputils-extension", "notification", {"fetchNews": "false", "checkForUpdates": False})
        built = ROOT / "labextension"
        if OTHER and not (built / "package.json").exists():
            built = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "raynb"
        if (built / "package.json").exists():
            there = self.folder / "data" / "labextensions" / "raynb"
            shutil.copytree(built, there)
            env["JUPYTER_PATH"] = str(self.folder / "data")
        # Kernels start in the notebook's folder and import the same raynb as the test.
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT.parent), *env.get("PYTHONPATH", "").split(os.pathsep)])
        if OTHER:
            # The other environment has raynb of this one, and nothing else of it.
            (self.folder / "lib").mkdir()
            (self.folder / "lib" / "raynb").symlink_to(ROOT)
            env["PYTHONPATH"] = str(self.folder / "lib")
            # JupyterLab before 4.4 attaches only the cells that are in sight, and tests name cells by their place.
            self.set("@jupyterlab/notebook-extension", "tracker", {"windowingMode": "defer"})
        return env

    def set(self, plugin: str, name: str, values: dict[str, Any]) -> None:
        """Writes settings of an extension's plugin, as a person chooses them in JupyterLab's editor."""
        place = self.folder / "settings" / plugin
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.jupyterlab-settings").write_text(json.dumps(values))

    def start(self) -> None:
        """Starts it; returns when it answers."""
        command, environ = self._command(), self.environ()
        sign = self.work / f"{self.folder.name}.txt"
        sign.touch()
        deadline = time.monotonic() + 180
        process = self._launch(command, environ)
        while not self._answers(process.pid, sign.name):
            ended = process.poll() is not None
            said = (self.folder / "server.log").read_text()
            if time.monotonic() > deadline or (ended and "could not be started because" not in said):
                self.stop()
                raise RuntimeError(f"JupyterLab did not start:\n{said}")
            if ended:  # another process has taken the port that it had found free
                process = self._launch(command, environ)
            time.sleep(0.05)
        sign.unlink()

    def _command(self) -> list[str]:
        name = "LabApp" if self.app == "jupyterlab" else "JupyterNotebookApp"
        command = [
            OTHER or sys.executable, "-m", self.app, "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
            f"--{name}.expose_app_in_browser=True", f"--ServerApp.root_dir={self.work}",
            "--MappingKernelManager.kernel_info_timeout=300",
        ]  # fmt: skip
        if len(str(self.folder)) <= FOLDER_MAX:  # else by ports, which another process may take before the kernel does
            command.append("--KernelManager.transport=ipc")
        return command

    def _launch(self, command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(command, env=environ, cwd=self.work, stdout=log, stderr=subprocess.STDOUT)
        return self.process

    def _answers(self, pid: int, sign: str) -> bool:
        """Whether it answers by now, and has the file ``sign``: it says where it listens before it does, and whoever
        has taken the port meanwhile may answer there."""
        for info in (self.folder / "runtime").glob("jpserver-*.json"):
            try:
                told = json.loads(info.read_text())
                if told["pid"] != pid:
                    continue
                with _ask(f"{told['url']}api/contents/{sign}?content=0", timeout=60):
                    self.url = told["url"]
                    return True
            except (ValueError, KeyError, OSError, http.client.HTTPException):  # half written; not there yet
                continue
        return False

    def stop(self) -> None:
        """Ends the server as Ctrl-C does: it shuts its kernels down first."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(60)
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
        self.command("docmanager:open", {"path": name, "factory": "Notebook"})
        self.wait_current(name)
        self.ready()

    def bring(self, name: str) -> None:
        """Brings a notebook that is open to the front; returns when it is the current one."""
        self.command("docmanager:open", {"path": name})
        self.wait_current(name)

    def wait_current(self, name: str) -> None:
        """Waits until a notebook is the one that commands are about, which is some time after it was opened."""
        self.page.wait_for_function(
            "name => window.jupyterapp.shell.currentWidget?.context?.path === name", arg=name
        )

    def save(self) -> None:
        """Saves the current notebook."""
        self.page.evaluate(f"() => {{ {CURRENT} return panel.context.save() }}")

    def ready(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext"
            "?.session?.kernel?.status === 'idle'"
        )

    def reload(self) -> None:
        """Loads the page again; returns when the notebook is there, whatever its kernel does."""
        self.page.reload()
        self.wait_restored()  # else what is opened now may be put away again
        self.wait_shown()

    def wait_shown(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.context?.isReady === true"
        )

    def wait_restored(self) -> None:
        """Waits until JupyterLab has brought back the layout that was saved."""
        self.page.wait_for_function("async () => !!window.jupyterapp && (await window.jupyterapp.restored, true)")

    def wait_file(self, name: str) -> None:
        """Waits until a task has made a file."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not (self.server.work / name).exists():
            assert time.monotonic() < deadline, f"{name} was not made"
            time.sleep(0.01)

    def start(self, cell: int) -> None:
        """Runs a cell; doesn't wait for it. What it showed before is gone at once, so that nobody takes it for new."""
        self.page.evaluate(
            f"index => {{ {CURRENT} panel.content.activeCellIndex = index;"
            " panel.content.widgets[index].model.clearExecution();"
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
            f" return cell.model.executionCount > 0 && !({RUNNING}) }}",
            arg=cell,
        )

    def is_running(self, cell: int) -> bool:
        """Whether the cell is running. (The kernel's status doesn't tell: it says idle after each
        message that a subshell handled.)"""
        return bool(
            self.page.evaluate(
                f"index => {{ {CURRENT} const cell = panel.content.widgets[index]; return {RUNNING} }}", cell
            )
        )

    def wait_text(self, cell: int, text: str) -> None:
        """Waits until the cell has printed exactly this."""
        self.page.wait_for_function(
            f"([index, text]) => {{ {CURRENT} return panel.content.widgets[index].model.outputs.toJSON()"
            ".filter(one => one.output_type === 'stream').map(one => one.text).join('') === text }",
            arg=[cell, text],
        )

    def wait_output(self, cell: int, text: str) -> None:
        """Waits until the outputs of the cell, as they would be saved, contain the text."""
        self.page.wait_for_function(
            f"([index, text]) => {{ {CURRENT} return JSON.stringify("
            "panel.content.widgets[index].model.outputs.toJSON()).includes(text) }",
            arg=[cell, text],
        )

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
                for (let tries = 0; tries < 1200; tries++) {
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
