"""What runs one job of a workspace and ends with it: a process, ``python -m saewidgets.workspace.child JOB_ID``, whose
environment names the workspace, for `ProcessExecutor`; and `RayActor`, for `RayExecutor`."""

import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from saewidgets.catalog import Catalog
from saewidgets.errors import ConfigError
from saewidgets.jobs import JobSettings, error_info, fail_unowned
from saewidgets.settings import sleep_soon
from saewidgets.workspace.ray_jobs import RayWorker
from saewidgets.workspace.workspace import Workspace

_LAST_WORD = 60.0  # seconds in which an actor can be asked what went wrong
_MANY = 1_000  # jobs at once on a device of a cluster: how many fit is Ray's to say


def run_job(job_id: str) -> None:
    """Take the job, and wait until it has ended or is paused. Nothing happens if somebody else has it by now."""
    with Workspace(runner="thread") as workspace:
        if (job := workspace.manager.take(job_id)) is not None:
            job.wait()
        (workspace.folder / "logs" / f"{job_id}.txt").unlink(missing_ok=True)


class RayActor:
    """Runs one job in a thread, so that Ray can ask for it, and ends with it. Started again in the place of one that
    was lost, it goes on with the job."""

    def __init__(self, job_id: str, folder: str, catalog_url: str | None) -> None:
        import ray  # an extra

        sleep_soon()
        here = ray.get_runtime_context()
        me, again = here.current_actor, here.was_current_actor_reconstructed
        gpus = [str(number) for number in here.get_accelerator_ids().get("GPU", ())]
        self._job, self._answered = Future[None](), threading.Event()

        def work() -> None:
            try:
                _run(job_id, folder, catalog_url, gpus=gpus, again=again)
                self._job.set_result(None)
            except Exception as error:  # noqa: BLE001 - `ended` raises it
                self._job.set_exception(error)
                self._answered.wait(_LAST_WORD)
            time.sleep(1.0)  # for the answer to be on its way
            if (places := ray.util.get_current_placement_group()) is not None:
                ray.util.remove_placement_group(places)
            ray.kill(me)

        threading.Thread(target=work, name=f"saewidgets-ray-{job_id}", daemon=True).start()

    def ended(self) -> None:
        """Returns when the job has ended; raises what kept it from beginning."""
        try:
            self._job.result()
        finally:
            self._answered.set()


def _run(job_id: str, folder: str, catalog_url: str | None, *, gpus: Sequence[str], again: bool) -> None:
    import ray  # an extra

    from saewidgets.training.parallel import Launcher  # torch: seconds to import

    try:
        if "://" not in folder and not Path(folder).is_dir():
            hint = "Put the workspace on a drive that all machines have under the same path."
            raise ConfigError("The folder of the workspace is not on this machine.", where=folder, hint=hint)
        jobs = JobSettings(width=_MANY, place=f" (GPU {' '.join(gpus)})" if gpus else "")
        with Workspace(folder, catalog_url=catalog_url, runner="thread", jobs=jobs) as workspace:
            workspace.launcher = lambda: Launcher(RayWorker, ray.util.get_node_ip_address(), own_devices=True)
            manager = workspace.manager
            if job := manager.take(job_id) or (manager.take_over(job_id) if again else None):
                job.wait()
    except Exception as error:
        if catalog_url is not None:  # which is reached where the folder is not; otherwise only Ray's log has it
            with Catalog(folder, catalog_url) as catalog:
                fail_unowned(catalog.jobs, job_id, error_info(error))
        raise


if __name__ == "__main__":
    run_job(sys.argv[1])
