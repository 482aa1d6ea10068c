"""Defines `RunLog`: every `LogLine` of a run also goes to `log.txt` in its folder, bounded in size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from saewidgets.events import Emit, LogLine

MAX_BYTES = 1_000_000  # per file; there are two at most


class Log:
    """What can be written to: one run's log, or those of several at once."""

    def info(self, message: str) -> None:
        """What happened."""
        self.write(LogLine(message))

    def warning(self, message: str) -> None:
        """What a person should know, though the run goes on."""
        self.write(LogLine(message, "warning"))

    def error(self, message: str) -> None:
        """Why the run ended."""
        self.write(LogLine(message, "error"))

    def write(self, line: LogLine) -> None:
        """Take a line."""
        raise NotImplementedError


class RunLog(Log):
    """Writes lines to `folder/log.txt` and emits them. At `MAX_BYTES` the file becomes `log.old.txt`.

    A line is one open-append-close, so nothing is lost when the process is killed and nobody holds the file. A log that
    cannot be written (the disk is full, say) is reported once as an event and never ends the run.
    """

    def __init__(self, folder: Path, emit: Emit) -> None:
        self.path = folder / "log.txt"
        self._emit = emit
        self._broken = False

    def write(self, line: LogLine) -> None:
        """Emit the line, and append it to the file."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(line.time))
        self._emit(line)
        try:
            if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
                self.path.replace(self.path.with_name("log.old.txt"))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {line.level.upper():7} {line.message}\n")
        except OSError as error:
            if not self._broken:
                self._broken = True
                self._emit(LogLine(f"{self.path} cannot be written: {error.strerror}.", "warning"))


class Logs(Log):
    """What concerns all runs of a group is in the log of each."""

    def __init__(self, logs: Sequence[RunLog]) -> None:
        self._logs = logs

    def write(self, line: LogLine) -> None:
        """Write the line into each."""
        for log in self._logs:
            log.write(line)
