"""A JupyterLab server of its own, and a notebook in it as a test drives it."""

import ast
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page

from tests.browser.kernels import write_kernelspec

SETTINGS = {
    # The "would you like news" toast covers the page.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
CAPTURE = """import contextlib, io
_printed = io.StringIO()
with contextlib.redirect_stdout(_printed):
    exec({code!r})
"""
READY = """() => {
  const widget = window.jupyterapp?.shell.currentWidget;
  return widget?.context?.isReady && widget.sessionContext.session?.kernel?.status === 'idle';
}"""
HARMLESS = ("favicon", "net::ERR_", "WebSocket connection to", "the server responded with a status of 404")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """One server with folders of its own; `kernels` maps kernel names to versions of ipykernel."""

    def __init__(self, root: Path, kernels: dict[str, str]) -> None:
        self.root = root
        self.port, self.token = free_port(), secrets.token_hex(16)
        private = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "IPYTHONDIR": "ipython",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "SAEWIDGETS_HOME": "saewidgets",
        }
        folders = {name: root / f".{folder}" for name, folder in private.items()}
        for name, value in SETTINGS.items():
            path = folders["JUPYTERLAB_SETTINGS_DIR"] / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value), "utf-8")
        for name, ipykernel in kernels.items():
            write_kernelspec(folders["JUPYTER_DATA_DIR"], name, ipykernel)
        environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}, "OMP_NUM_THREADS": "1"}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        arguments = [
            "--no-browser",
            "--allow-root",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={root}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]
        self.log = root / "server.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> Self:
        try:
            self._wait_until_up(60.0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_until_up(self, limit: float) -> None:
        deadline = time.monotonic() + limit
        url = f"http://127.0.0.1:{self.port}/api/status?token={self.token}"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except (urllib.error.URLError, OSError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-4000:]}") from error
                time.sleep(0.1)

    def close(self) -> None:
        """Stop the server, which stops its kernels."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def write_notebook(self, name: str, cells: list[str], kernel: str) -> None:
        """A notebook of code cells without output."""
        kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
        notebook = new_notebook(cells=list(map(new_code_cell, cells)), metadata={"kernelspec": kernelspec})
        nbformat.write(notebook, self.root / name)

    def url(self, notebook: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?token={self.token}&reset"


class Notebook:
    """An open notebook with a kernel of its own."""

    def __init__(self, lab: Lab, page: Page, cells: list[str], kernel: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(getattr(error, "stack", None) or str(error)))
        page.on("console", self._console)
        name = f"test-{secrets.token_hex(4)}.ipynb"
        lab.write_notebook(name, cells, kernel)
        page.goto(lab.url(name))
        page.wait_for_function(READY, timeout=60_000)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not any(text in message.text for text in HARMLESS):
            self.errors.append(message.text)

    def start(self, index: int) -> None:
        """Run a cell without waiting for it."""
        self.page.evaluate(
            """index => {
              const notebook = jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index;
              notebook.deselectAll();
              window.lastCell = jupyterapp.commands.execute('notebook:run-cell');
            }""",
            index,
        )

    def wait(self) -> None:
        """Wait for the cell that was started last."""
        self.page.evaluate("() => window.lastCell")

    def run(self, index: int) -> str:
        """Run a cell to its end; what it printed. Fails the test when the cell raised."""
        self.start(index)
        self.wait()
        return self.output(index)

    def output(self, index: int) -> str:
        """The text a cell printed or returned."""
        outputs = self.page.evaluate(
            "index => jupyterapp.shell.currentWidget.content.widgets[index].model.outputs.toJSON()", index
        )
        errors = ["\n".join(item["traceback"]) for item in outputs if item["output_type"] == "error"]
        assert not errors, f"cell {index} failed:\n{errors[0]}"
        texts = [item.get("text") or item.get("data", {}).get("text/plain", "") for item in outputs]
        return "".join("".join(text) if isinstance(text, list) else text for text in texts)

    def python(self, code: str) -> str:
        """Run code in the kernel beside the notebook's cells (after a running cell); what it prints.

        ipykernel 7.0 to 7.3 can leave a request unread until the next one arrives: another follows now and then.
        """
        reply = self.page.evaluate(
            """([code, answer]) => new Promise((resolve, reject) => {
              const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const content = {code, store_history: false, stop_on_error: false, user_expressions: {answer}};
              const future = kernel.requestExecute(content, false);
              const nudge = setInterval(() => void kernel.requestCommInfo({}), 5000);
              const late = () => reject(new Error('no answer from the kernel within 120 s to: ' + code));
              setTimeout(() => { clearInterval(nudge); late(); }, 120000);
              future.onReply = message => { clearInterval(nudge); resolve(message.content); };
            })""",
            [CAPTURE.format(code=code), "_printed.getvalue()"],
        )
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))
        return str(ast.literal_eval(reply["user_expressions"]["answer"]["data"]["text/plain"]))

    def busy(self, seconds: float) -> None:
        """Keep the kernel's main thread in `time.sleep`, as a long cell would."""
        self.page.evaluate(
            """seconds => {
              const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              window.busy = true;
              const future = kernel.requestExecute({code: `import time; time.sleep(${seconds})`}, false);
              window.busyCell = new Promise(resolve => { future.onReply = () => resolve(); });
              window.busyCell.then(() => { window.busy = false; });
            }""",
            seconds,
        )

    def is_busy(self) -> bool:
        """The `busy` cell still runs. (The kernel's own status also changes with every message to a subshell.)"""
        return bool(self.page.evaluate("() => window.busy"))

    def wait_idle(self) -> None:
        self.page.evaluate("() => window.busyCell")

    def panel(self, index: int = 0) -> Locator:
        """The index-th training panel on the page."""
        return self.page.get_by_role("region", name="Training panel").nth(index)

    def theme(self, name: str) -> None:
        """Switch JupyterLab to "Light" or "Dark".

        JupyterLab covers the page with its splash while a theme loads and takes it out 200 ms later; a second change
        within them takes it out twice, which is an error of the page. Hence the waiting for its end.
        """
        self.page.evaluate(
            "name => jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`})", name
        )
        light = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def close(self) -> None:
        """Stop the kernel."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget?.sessionContext?.shutdown()")
