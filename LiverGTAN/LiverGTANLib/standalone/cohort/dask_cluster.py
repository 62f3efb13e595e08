"""Cases on the workers of a cluster, through Dask: on this computer, over SSH, on SLURM, or any that runs already.

Workers need what this program needs (numpy, scipy, SimpleITK, pydicom) and see inputs and output at the same place.
Program and student are sent to them. Queue, lost workers and second tries are Dask's.
"""

import contextlib
import logging
import shutil
import signal
import threading
import zipfile
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...core.engines.engine import Engine
from ...core.engines.factory import InstalledEngines
from ...core.files import brief
from ...core.volume import InputError
from ...core.weight_file import Student
from . import KINDS
from .case_segmentation import CaseTask, failed, segment_case
from .records import CaseRecord

logger = logging.getLogger(__name__)

LOST_WORKERS = 1
"""Workers that a case may lose before it is left for the end, where it is tried once more, alone."""

MEMORY = "4GB"
"""Of a job on SLURM, unless Dask's own settings say otherwise. Chosen; what a case needs was not measured."""

SETTINGS = {
    "distributed.scheduler.allowed-failures": LOST_WORKERS,
    "distributed.scheduler.worker-saturation": 1.0,  # none waits at a worker: one that dies costs the case in it alone
    "distributed.worker.daemon": True,
}

_one_at_a_time = threading.Lock()


def segment_on_cluster(cluster: str, tasks: list[CaseTask], engine: Engine) -> Generator[CaseRecord, None, None]:
    """The records as the cases are done, in any order. Raises InputError with a sentence when there is no such cluster.

    Closing the iterator ends the cluster, if it was made here; what its workers are at is left undone.
    """
    distributed = _import_distributed()
    import dask

    with dask.config.set(SETTINGS), contextlib.ExitStack() as stack:
        client = _client(distributed, cluster, stack)
        if cluster.startswith("local:"):
            _leave_interrupts(distributed, client)
        else:
            _send_program(client)
        _require_packages(client)
        student = client.submit(_identity, engine.student, pure=False)
        futures = client.map(_segment, tasks, student=student, engine=engine.name, pure=False)
        stack.callback(client.cancel, futures)
        waiting = dict(zip([future.key for future in futures], tasks))
        suspects = []
        for future in distributed.as_completed(futures):
            task = waiting.pop(future.key)
            if isinstance(future.exception(), distributed.KilledWorker):
                suspects.append(task)  # or what ran beside the case that ended the worker
            else:
                yield _record(task, future)
            future.release()
        for task in suspects:  # each alone
            yield _record(task, client.submit(_segment, task, student=student, engine=engine.name, pure=False))


def _record(task: CaseTask, future: Any) -> CaseRecord:
    """Of a case, once its future is done."""
    error = future.exception()
    return _given_up(task, error) if error else _seen(task, future.result())


def _identity(student: Student) -> Student:
    """As a task, for Dask sends a lost result of one again."""
    return student


def _segment(task: CaseTask, student: Student, engine: str) -> CaseRecord:
    """On a worker."""
    with _one_at_a_time:  # memory and threads are those of one case, however many threads a worker has
        return segment_case(task, _engine(student, engine))


@lru_cache(maxsize=1)
def _engine(student: Student, engine: str) -> Engine:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return InstalledEngines().engine_for(student, engine)


def _given_up(task: CaseTask, error: BaseException) -> CaseRecord:
    """A case that no worker came back from."""
    cause = error.__cause__ or error
    reason = f"unexpected {type(cause).__name__} on a worker ({brief(cause)}); see the log"
    if type(error).__name__ == "KilledWorker":
        reason = "Every worker that was given it ended while it was segmented, perhaps for lack of memory."
    logger.warning("%s: %s", task.case.input, error, exc_info=error)
    record = failed(task, reason, task.written)
    record.write(task.folder)
    return record


def _seen(task: CaseTask, record: CaseRecord) -> CaseRecord:
    """What a worker wrote must be here too."""
    if not record.error and not task.target.is_file():
        return failed(task, f"A worker wrote {task.target} where this computer does not see it; give a shared folder.")
    return record


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "Workers need Dask (distributed; for SLURM dask-jobqueue, for SSH asyncssh), which this Python lacks; add "
            "it, or leave out --cluster."
        ) from error
    return distributed


def _client(distributed: Any, cluster: str, stack: contextlib.ExitStack) -> Any:
    """A client of the cluster with at least one worker; both are closed with the stack."""
    kind, _, argument = cluster.partition(":")
    if kind not in _CLUSTERS and kind not in ("tcp", "tls"):
        raise InputError(f"There is no cluster {cluster}; give {KINDS}.")
    try:
        made = stack.enter_context(_CLUSTERS[kind](distributed, argument)) if kind in _CLUSTERS else cluster
        client = stack.enter_context(distributed.Client(made))
        client.wait_for_workers(1)
    except InputError:
        raise
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        raise InputError(f"The cluster {cluster} cannot be used ({' '.join(str(error).split())}).") from error
    return client


def _local(distributed: Any, argument: str) -> Any:
    return distributed.LocalCluster(
        n_workers=_count(argument), threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
    )


def _ssh(distributed: Any, argument: str) -> Any:
    """The first host runs the scheduler too."""
    hosts = [host.strip() for host in argument.split(",") if host.strip()]
    if not hosts:
        raise InputError("Give the hosts, as in ssh:first,second.")
    return distributed.SSHCluster([hosts[0], *hosts], worker_options={"nthreads": 1})


def _slurm(distributed: Any, argument: str) -> Any:
    import dask
    import dask_jobqueue

    if shutil.which("sbatch") is None:
        raise InputError("SLURM's sbatch is not on the path; start from a computer that submits jobs.")
    job: dict[str, Any] = {"cores": 1, "processes": 1, "memory": MEMORY}
    chosen: Any = {key: dask.config.get(f"jobqueue.slurm.{key}", None) or value for key, value in job.items()}
    cluster = dask_jobqueue.SLURMCluster(**chosen)
    cluster.scale(jobs=_count(argument))
    return cluster


_CLUSTERS: dict[str, Callable[[Any, str], Any]] = {"local": _local, "ssh": _ssh, "slurm": _slurm}


def _count(argument: str) -> int:
    if not (argument.isascii() and argument.isdigit() and 0 < int(argument) <= 10_000):
        raise InputError(f"{argument or 'nothing'} is no number of workers; give 1 or more, as in local:2.")
    return int(argument)


def _leave_interrupts(distributed: Any, client: Any) -> None:
    """Ctrl-C in a terminal reaches workers of this computer too; this process ends them in order."""

    class IgnoreInterrupts(distributed.WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    client.register_plugin(IgnoreInterrupts())


def _send_program(client: Any) -> None:
    """The sources of this package, for workers that have no copy or another one."""
    library = Path(__file__).resolve().parents[2]
    with TemporaryDirectory() as folder:
        archive = Path(folder, f"{library.name}.zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for file in sorted(library.rglob("*.py")):
                content.write(file, file.relative_to(library.parent))
        client.upload_file(str(archive))


def _require_packages(client: Any) -> None:
    """Raise InputError naming the worker that lacks a package, for it would fail each case sooner than others do."""
    try:
        client.run(_import_packages)
    except Exception as error:  # whatever importing raises, or unpickling there
        raise InputError(
            f"A worker cannot run this program ({type(error).__name__}: {error}); install it there."
        ) from error


def _import_packages() -> None:
    import pydicom  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import SimpleITK  # noqa: F401
