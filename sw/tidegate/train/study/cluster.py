"""Dask for a sweep: workers on this machine or on a cluster, what is brought to all of them, and errors in one line."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import dask.config
from distributed import CancelledError, Client, Future, LocalCluster, WorkerPlugin

from tidegate.spec.errors import TidegateError

PATIENCE = 300          # seconds that a cluster may be without workers
KEPT = "finished points are kept, and the same command goes on"
BROUGHT: dict[str, Any] = {}            # of a worker: what it was sent, by name
_CONNECT = 10           # seconds in which a scheduler must answer
_TICK = 1               # seconds after which the number of workers is looked at again
_TASKS = f"{__package__}.sweep"         # the module of the tasks, which imports torch


class _Bring(WorkerPlugin):
    """An object under a name, on every worker that is there or comes."""

    def __init__(self, name: str, content: Any):
        self.name, self.content = name, content

    def setup(self, worker) -> None:
        BROUGHT[self.name] = self.content

    def teardown(self, worker) -> None:
        BROUGHT.pop(self.name, None)


@contextmanager
def sent(client: Client, contents: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Names by which every worker, there or to come, finds the contents in ``BROUGHT``; forgotten in the end."""
    names = {k: f"tidegate-{uuid4().hex}" for k in contents}
    try:
        for k, name in names.items():
            client.register_plugin(_Bring(name, contents[k]), name)
        yield names
    finally:
        with suppress(Exception):           # a cluster that is lost has nothing to forget
            for name in names.values():
                client.unregister_worker_plugin(name)


@contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Single-threaded processes on this machine; one that dies is started again."""
    options: dict[str, Any] = {
        "n_workers": workers, "threads_per_worker": 1, "processes": True, "memory_limit": 0,
        "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL,
        "preload": [_TASKS]}                # a worker is there once it has imported torch
    _quiet()
    # by default a new process that a busy machine does not bring up in 15 s is given up for ever
    with dask.config.set({"distributed.deploy.lost-worker-timeout": f"{PATIENCE} s"}):
        with _deaf_to_interrupts():
            try:
                cluster = LocalCluster(**options)
            except (OSError, RuntimeError, TimeoutError) as error:      # a worker was killed while it started
                raise TidegateError(f"the workers on this machine did not start ({line_of(error)}); try again, or use "
                                    "fewer") from None
        with cluster:
            try:
                yield cluster
            except BaseException:
                for nanny in cluster.workers.values():      # nobody waits for what they are training
                    nanny.auto_restart = False
                    with suppress(ProcessLookupError, TypeError):       # it has none while it is restarted
                        os.kill(nanny.pid, signal.SIGKILL)
                raise


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Threads and processes started here, and theirs, never see Ctrl-C: it is for the main thread, which ends them."""
    resource_tracker.ensure_running()       # it would unblock the signal again when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def local(workers: int) -> Iterator[Client]:
    """A client of worker processes on this machine."""
    with local_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """A cluster that is there; TidegateError if none answers, or if its workers cannot train."""
    _quiet()
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError):
        raise TidegateError(f"no cluster answers at '{address}'; start one with `dask scheduler` and `dask worker`, "
                            "or leave --cluster out to use this machine") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT)
        except TimeoutError:
            raise TidegateError(f"the cluster at '{address}' has no workers; start some: `dask worker {address} "
                                "--nthreads 1`") from None
        _check_versions(client, address)
        yield client


def _check_versions(client: Client, address: str) -> None:
    def installed():        # travels by value: it must run where tidegate is not installed
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec

        try:
            return f"{version('tidegate')}{'' if find_spec('torch') else ' without torch'}"
        except PackageNotFoundError:
            return "none"

    threads: Any = client.nthreads()
    if max(threads.values()) > 1:           # two trainings in a process would share its random numbers
        raise TidegateError(f"the cluster at '{address}' has workers of several threads; start them with --nthreads 1")
    found: Any = client.run(installed)
    for worker, version in found.items():
        if version != installed():
            raise TidegateError(f"the worker {worker} of the cluster at '{address}' has tidegate {version}, here it is "
                                f"{installed()}; install the same there: pip install 'tidegate[train]'")


def next_of(tasks: SimpleQueue[Future]) -> list[Future]:
    """A finished task, or none within a tick."""
    try:
        return [tasks.get(timeout=_TICK)]
    except Empty:
        return []


@contextmanager
def not_lost(client: Client, where: str) -> Iterator[None]:
    """What distributed raises when the scheduler went away, in one line."""
    try:
        yield
    except (OSError, TimeoutError, RuntimeError, CancelledError) as error:
        why = "its scheduler is gone" if isinstance(error, CancelledError) else line_of(error)
        raise TidegateError(f"lost {where} ({why}); {KEPT}") from None


def _quiet() -> None:
    """What distributed would log is told in one line here."""
    for name in ("distributed", "distributed.client"):      # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)


def line_of(error: BaseException) -> str:
    """Its text on one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
