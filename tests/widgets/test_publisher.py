"""The publisher keeps its pace, ends quietly, and in Colab publishes on the thread that answers."""

import subprocess
import sys
import threading
import time
from types import ModuleType

import pytest

from saewidgets.widgets.shell import Publisher, publish_wanted
from tests.jobs.conftest import wait_until


def test_it_rests_in_proportion_to_its_cost_unless_the_user_waits() -> None:
    calls: list[float] = []

    def publish() -> None:
        calls.append(time.monotonic())
        time.sleep(0.02)

    publisher = Publisher(publish, name="test", interval=0.01)
    publisher.wake()
    wait_until(lambda: calls)
    publisher.wake()
    publisher.wake(urgent=True)
    wait_until(lambda: len(calls) == 2)
    publisher.wake()
    wait_until(lambda: len(calls) == 3)
    publisher.close()
    assert calls[1] - calls[0] < 0.8
    assert calls[2] - calls[1] >= 1.0


ENDING = """
import threading
from concurrent.futures import ThreadPoolExecutor
from saewidgets.widgets.shell import Publisher

pool, refused = ThreadPoolExecutor(), threading.Event()
pool.submit(int).result()

def publish():
    try:
        while True:
            pool.submit(int)
    finally:
        refused.set()

publisher = Publisher(publish, name="test")
publisher.wake()
threading.Thread(target=lambda: (refused.wait(30), publisher._thread.join(5))).start()
"""


def test_failures_at_interpreter_exit_are_silent() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_in_colab_it_publishes_on_the_thread_that_answers_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab.output", ModuleType("google.colab.output"))
    threads: list[threading.Thread] = []
    publisher = Publisher(lambda: threads.append(threading.current_thread()), name="test", interval=0.0)
    publish_wanted()
    assert not threads, "nothing is wanted"
    publisher.wake()
    publisher.wake()
    assert not threads
    publish_wanted()
    assert threads == [threading.current_thread()]
    publisher.close()
    publisher.wake()
    publish_wanted()
    assert len(threads) == 1
