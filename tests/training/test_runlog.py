"""The log: lines in the file and as events, bounded, and never the reason a run ends."""

from saewidgets.events import LogLine
from saewidgets.training import runlog
from saewidgets.training.runlog import RunLog


def test_lines_go_to_the_file_and_out_as_events(tmp_path, recorder):
    log = RunLog(tmp_path, recorder)
    log.info("one")
    log.warning("two")
    log.error("three <b>")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(maxsplit=2)[1:] for line in lines] == [
        ["INFO", "one"], ["WARNING", "two"], ["ERROR", "three <b>"]
    ]
    assert [(e.level, e.message) for e in recorder.of(LogLine)] == [
        ("info", "one"), ("warning", "two"), ("error", "three <b>")
    ]


def test_the_size_is_bounded(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(runlog, "MAX_BYTES", 1000)
    log = RunLog(tmp_path, recorder)
    for number in range(200):
        log.info(f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log.old.txt", "log.txt"]
    assert all(file.stat().st_size < 1100 for file in files)
    assert files[1].read_text().splitlines()[-1].endswith("line 199")


def test_a_log_that_cannot_be_written_is_reported_once(tmp_path, recorder):
    (tmp_path / "log.txt").mkdir()
    log = RunLog(tmp_path, recorder)
    log.info("one")
    log.info("two")
    warnings = [e for e in recorder.of(LogLine) if e.level == "warning"]
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0].message
    assert [e.message for e in recorder.of(LogLine) if e.level == "info"] == ["one", "two"]
