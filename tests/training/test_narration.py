"""What a run's log tells of its course, and the file that it is written to."""

from saewidgets.events import CheckpointSaved, LogLine, Metrics
from saewidgets.training import progress
from saewidgets.training.progress import EVERY, Narrator, RunLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(recorder):
    return [line.message for line in recorder.of(LogLine)]


def metrics(step, **values):
    return Metrics(step, step * 4096, values)


def test_the_course_of_a_run(tmp_path, recorder):
    clock = Clock()
    tell = Narrator(recorder, RunLog(tmp_path, recorder), clock)
    tell(metrics(1, loss=0.5, l0=31.96, fvu=0.4))
    clock.now = EVERY / 2
    tell(metrics(10, loss=0.4, l0=32.0, fvu=0.3))  # too soon for another line
    tell(metrics(10, val_fvu=0.31, val_l0=32.0, ce_loss_score=0.912))
    clock.now = EVERY
    tell(metrics(20, loss=0.285, l0=32.0, fvu=0.119, dead=0.021))
    tell(CheckpointSaved(20, 81_920, str(tmp_path / "c"), ("latest", "every"), 302_000_000))
    tell(CheckpointSaved(30, 122_880, str(tmp_path / "d"), ("latest", "best"), 302_000_000))
    assert said(recorder) == [
        "Step 1 (4.1K tokens): loss 0.5000, L0 32.0, FVU 0.400.",
        "Step 10 (41K tokens), held-out text: FVU 0.310, L0 32.0, CE recovered 0.912.",
        "Step 20 (81.9K tokens): loss 0.2850, L0 32.0, FVU 0.119, dead 2.1 %.",
        "Step 20: checkpoint saved (302 MB).",
        "Step 30: checkpoint saved (302 MB, best).",
    ]
    assert [line.split(maxsplit=2)[2] for line in (tmp_path / "log.txt").read_text().splitlines()] == said(recorder)


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
    monkeypatch.setattr(progress, "MAX_BYTES", 1000)
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
