"""Many clients of one catalog on PostgreSQL: operations per second, and whether any change of a job is lost or doubled.

    python benchmarks/bench_catalog.py [--clients 100] [--seconds 600] [--url postgresql+psycopg://…]

Each client queues jobs, takes them when their lane is free, reports progress, ends or cancels them, and contends for
shared ones. Who wins a contest makes a file that must not be there, so two winners are seen; every job has to have the
status that its client gave it last, and a queue number of its own. Without a URL a server of this machine's package is
started (tests/postgresql.py).
"""

import argparse
import collections
import multiprocessing as mp
import random
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
PROCESSES, SHARED = 4, 20


def work(url: str, home: str, number: int, threads: int, seconds: float, out: Any) -> None:
    from saewidgets.catalog import Catalog
    from saewidgets.events import JobStatus, Progress

    jobs = Catalog(Path(home), url, host=f"host{number}").jobs
    done: collections.Counter[str] = collections.Counter()
    wrong: collections.Counter[str] = collections.Counter()
    waits: list[float] = []
    end = time.time() + seconds

    def timed(name: str, call: Any, *given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        found = call(*given, **named)
        waits.append(time.perf_counter() - begun)
        done[name] += 1
        return found

    def client(me: str, chance: random.Random) -> None:
        while time.time() < end:
            lane = f"lane{chance.randrange(8)}"
            name = f"job_{me}_{time.time_ns()}"
            job = timed("add", jobs.add, name, kind="training", lane=lane, payload={}, owner=me)
            taken = None
            for _ in range(3):
                if taken := timed("acquire", jobs.acquire, job.id, me, width=2, timeout=30):
                    break
                timed("beat", jobs.beat, me)
                time.sleep(chance.random() / 2)
            if taken:
                for step in range(3):
                    timed("record", jobs.record, me, [(job.id, None, Progress(step, 10))])
                    time.sleep(chance.random() / 5)
                last, before = JobStatus.COMPLETED, [JobStatus.STARTING, JobStatus.RUNNING]
            else:
                last, before = JobStatus.CANCELLED, [JobStatus.QUEUED]
            if timed("end", jobs.change, job.id, {"status": last}, when=before) is None:
                wrong["lost"] += 1
            elif jobs.list(ids=[job.id])[0].status is not last:
                wrong["another status"] += 1
            shared = f"shared{chance.randrange(SHARED)}"
            paused = {"status": JobStatus.PAUSING}
            if timed("contest", jobs.change, shared, paused, when=[JobStatus.RUNNING]) is not None:
                done["won"] += 1
                mark = Path(home) / shared
                try:
                    mark.open("x").close()
                except FileExistsError:
                    wrong["won twice"] += 1
                mark.unlink(missing_ok=True)
                if jobs.change(shared, {"status": JobStatus.RUNNING}, when=[JobStatus.PAUSING]) is None:
                    wrong["taken from the winner"] += 1

    def run(me: str, seed: int) -> None:
        while time.time() < end:
            try:
                client(me, random.Random(seed))
            except Exception as error:  # noqa: BLE001 - counted
                wrong[repr(error)[:200]] += 1

    clients = [threading.Thread(target=run, args=(f"{number}.{i}", number * 1000 + i)) for i in range(threads)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    out.put((done, wrong, waits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--url")
    given = parser.parse_args()
    with ExitStack() as until:
        from tests.postgresql import started

        url = given.url or until.enter_context(started()).blank()
        home = until.enter_context(tempfile.TemporaryDirectory())
        measure(url, home, given.clients, given.seconds)


def measure(url: str, home: str, clients: int, seconds: float) -> None:
    import sqlalchemy as sa

    from saewidgets.catalog import Catalog
    from saewidgets.catalog.upkeep import CatalogUpkeep
    from saewidgets.events import JobStatus

    CatalogUpkeep(Path(home), url).upgrade()
    jobs = Catalog(Path(home), url).jobs
    for number in range(SHARED):
        jobs.add(f"shared{number}", kind="training", lane="shared", payload={}, owner="all")
        jobs.change(f"shared{number}", {"status": JobStatus.RUNNING}, when=[JobStatus.QUEUED])
    context = mp.get_context("spawn")
    out = context.Queue()
    workers = [
        context.Process(target=work, args=(url, home, number, clients // PROCESSES, seconds, out))
        for number in range(PROCESSES)
    ]  # fmt: skip
    begun = time.time()
    for worker in workers:
        worker.start()
    done, wrong, waits = collections.Counter[str](), collections.Counter[str](), []
    for _ in workers:
        mine = out.get()
        done += mine[0]
        wrong += mine[1]
        waits += mine[2]
    for worker in workers:
        worker.join()
    took = time.time() - begun
    with sa.create_engine(url).connect() as connection:
        rows, numbers = connection.execute(sa.text("select count(*), count(distinct queue_number) from jobs")).one()
    quantiles = statistics.quantiles(waits, n=100)
    print(f"{clients} clients, {took:.0f} s: {dict(done)}")
    print(f"{sum(done.values()) / took:.0f} operations per second; seconds per operation: median {quantiles[49]:.3f}, "
          f"95 % {quantiles[94]:.3f}, longest {max(waits):.3f}")  # fmt: skip
    print(f"jobs {rows:,}, queue numbers {numbers:,}; wrong: {dict(wrong) or 'nothing'}")


if __name__ == "__main__":
    main()
