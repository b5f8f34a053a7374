"""Tasks on Dask: a cluster on this machine or any scheduler by address, a progress bar and a summary."""

import contextlib
import logging
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from dask.system import CPU_COUNT

from sstlib.reproduction.task import Outcome, Task, execute

CONNECT = 15  # seconds to reach a scheduler
ENDING = 20  # seconds for interrupted tasks to end their children


class Engine(contextlib.AbstractContextManager):
    """Runs tasks on Dask, which is started when there is a first task to run.

    Args:
        scheduler: Address of a running Dask scheduler, such as tcp://host:8786, whose workers see the same files.
            None: a cluster of processes on this machine, as long as the engine is open.
        workers: Tasks at a time on that local cluster; None: one a core.

    Raises:
        ValueError: fewer workers than one, or workers together with a scheduler, which has its own.
    """

    def __init__(self, scheduler: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}; at least 1 is needed")
        if workers is not None and scheduler is not None:
            raise ValueError(f"{workers} tasks at a time are of a cluster on this machine, and the scheduler at "
                             f"{scheduler} has workers of its own; leave one of the two out")
        self.scheduler, self.workers = scheduler, workers
        self._client: Any = None
        self._cluster: Any = None
        self._open = contextlib.ExitStack()

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(TimeoutError, OSError):  # a scheduler that is gone has nothing left to be closed
            self._open.close()

    def run(self, tasks: list[Task], fresh: bool = False, title: str = "tasks") -> list[Outcome]:
        """Runs the tasks that are not done (if `fresh`, all), in any order; returns outcomes in the tasks' order."""
        outcomes = {
            task.name: Outcome(task.name, "reused", note=task.note) for task in tasks if not fresh and task.done()
        }
        pending = [task for task in tasks if task.name not in outcomes]
        if pending:
            outcomes |= self._run_pending(pending, title, len(tasks) - len(pending))
        return [outcomes[task.name] for task in tasks]

    def _run_pending(self, pending: list[Task], title: str, reused: int) -> dict[str, Outcome]:
        from distributed import Event, as_completed, wait
        from tqdm import tqdm

        client = self._connected(len(pending))
        stop = f"sst-stop-{uuid.uuid4().hex}"
        futures = {client.submit(work, task, stop, key=f"{task.name}-{uuid.uuid4().hex}"): task for task in pending}
        outcomes: dict[str, Outcome] = {}
        try:
            with tqdm(total=len(pending) + reused, initial=reused, desc=title, unit="task", dynamic_ncols=True) as bar:
                for future in as_completed(list(futures)):
                    outcome = _outcome(future, futures[future])
                    outcomes[outcome.name] = outcome
                    if outcome.error:
                        bar.write(f"{outcome.name} failed:\n{outcome.error}")
                    bar.set_postfix_str(outcome.name)
                    bar.update()
        except KeyboardInterrupt:
            Event(stop, client).set()  # running tasks end their children, queued ones do not start any
            with contextlib.suppress(Exception):
                wait(list(futures), timeout=ENDING)
            raise
        return outcomes

    def _connected(self, wanted: int) -> Any:
        """The client, connected on first use; a local cluster grows with the number of tasks, up to one a core."""
        from distributed import Client

        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if self.scheduler is None:
            if self._cluster is None:
                self._cluster = self._open.enter_context(own_cluster())
            self._cluster.scale(max(len(self._cluster.workers), min(self.workers or CPU_COUNT, wanted)))
        if self._client is None:
            try:
                self._client = self._open.enter_context(Client(self.scheduler or self._cluster, timeout=CONNECT))
            except (OSError, ValueError) as error:
                raise OSError(f"no Dask scheduler answers at {self.scheduler!r} ({error}); start one with "
                              "`dask scheduler`, or name none for a cluster on this machine") from error
            if self._cluster is not None:
                self._client.register_plugin(_undisturbed())
            elif not self._client.scheduler_info()["workers"]:
                print(f"the scheduler at {self.scheduler} has no workers yet; the tasks wait for some")
        return self._client


def _undisturbed() -> Any:
    """A plugin by which workers ignore Ctrl-C, which a terminal also sends to them: only the waiting process acts on
    it.
    """
    from distributed import WorkerPlugin

    class Undisturbed(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Undisturbed()


def own_cluster() -> Any:
    """A Dask cluster on this machine, without workers yet: one task each, no memory limit, no dashboard."""
    from distributed import LocalCluster

    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")  # the workers' own logs
    return LocalCluster(n_workers=0, threads_per_worker=1, processes=True, memory_limit=0,
                        dashboard_address=None, worker_dashboard_address=None, silence_logs=logging.CRITICAL)


def work(task: Task, stop: str) -> Outcome:
    """Runs a task on a Dask worker, and ends it early if the event named `stop` is set."""
    return execute(task, stopped=_stopper(stop))


def _stopper(stop: str) -> Callable[[], bool]:
    from distributed import Event, get_client

    event = Event(stop, get_client())

    def stopped() -> bool:
        try:
            return event.is_set()
        except Exception:  # the scheduler is gone, and with it whoever would take the result
            return True

    return stopped


def _outcome(future: Any, task: Task) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # execute() raises nothing of its own: a worker died for good, or the scheduler is gone
        return Outcome(task.name, "failed", error=f"lost with its worker or scheduler: {type(error).__name__}: {error}")


def summary(outcomes: list[Outcome]) -> str:
    """A table of what ran, was reused or failed, with seconds and totals; reused runs of an experiment are one row for
    each version of the code that made them.
    """
    gathered = Counter((o.name.split("/")[0], o.note) for o in outcomes if o.status == "reused" and "/" in o.name)
    rows = [(f"{name} ({number} runs)", "reused", note) for (name, note), number in gathered.items()]
    for o in outcomes:
        if o.status != "reused" or "/" not in o.name:
            again = f"  {o.attempts} attempts" if o.attempts > 1 else ""
            rows.append((o.name, o.status, (f"{o.seconds:7.1f} s" if o.seconds else "") + again))
    width = max((len(name) for name, *_ in rows), default=0)
    counts = Counter(o.status for o in outcomes)
    lines = [f"  {name:<{width}}  {status:<11}{rest}".rstrip() for name, status, rest in rows]
    return "\n".join([*lines, "  " + ", ".join(f"{counts[status]} {status}" for status in ("ran", "reused", "failed"))])
