"""Sessions prepared by several processes: each takes the next one when it is done with its last.

The processes are spawned, not forked: what a decoder or an HDF5 file of ours holds does not survive a fork. They see no
Ctrl-C, which a terminal sends to all: we end them. They end themselves when we are gone, however that came.
"""

import contextlib
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from visioncore.data.session_making import Order, Watcher, make_session
from visioncore.errors import ConfigError, DataError, VisionCoreError
from visioncore.recording import RecordingSource

_CONTEXT = multiprocessing.get_context("spawn")
_LOGGER = "visioncore"


def make_sessions(orders: Sequence[Order], workers: int, watcher_of: Callable[[str], Watcher]) -> None:
    """Write these session stores in so many processes.

    Args:
        watcher_of: gives what is told how far the session of an id is; called when the session begins.

    Raises:
        DataError: of the first session that fails, which it names. Those that were finished stay.
        ConfigError: a script that is not guarded by `if __name__ == "__main__"` called this.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            "prepare with several workers starts Python anew, and that runs this script again; put what it does "
            'under `if __name__ == "__main__":`'
        )
    left = deque(orders)
    team: dict[Connection, _Worker] = {}
    try:
        for _ in range(min(workers, len(orders))):
            worker = _Worker()
            team[worker.connection] = worker
            worker.take(left.popleft(), watcher_of)
        while busy := [connection for connection, worker in team.items() if worker.order is not None]:
            for connection in wait(busy):
                assert isinstance(connection, Connection)
                if team[connection].hear() and left:
                    team[connection].take(left.popleft(), watcher_of)
    finally:
        for worker in team.values():
            worker.end()


class _Worker:
    """A process, seen from ours."""

    def __init__(self) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        level = logging.getLogger(_LOGGER).getEffectiveLevel()
        self._process: SpawnProcess = _CONTEXT.Process(target=_work, args=(theirs, level), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()
        self.order: Order | None = None
        """What it is at."""
        self._watcher: Watcher | None = None

    def take(self, order: Order, watcher_of: Callable[[str], Watcher]) -> None:
        """Begin with this session."""
        self.order, self._watcher = order, watcher_of(order.id)
        # What it was sent when it died is told by `hear`.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(order)

    def hear(self) -> bool:
        """Take one message; whether the session is finished.

        Raises:
            DataError: the session failed, or the process did.
        """
        assert self.order is not None
        assert self._watcher is not None
        try:
            what, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise DataError(
                f"session '{self.order.id}': the process that prepared it ended ({_told(self._process.exitcode)}); "
                "with fewer workers each has more memory"
            ) from None
        if what == "error":
            raise value
        if what == "log":
            logging.getLogger(value.name).handle(value)
        elif what == "begin":
            self._watcher.begin(value)
        elif what == "advance":
            self._watcher.advance(value)
        else:
            self._watcher.finish()
            self.order = None
        return self.order is None

    def end(self) -> None:
        """Now, whatever it is at."""
        self.connection.close()
        if self.order is not None:
            self._process.terminate()
        self._process.join()


def _told(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started here never see a Ctrl-C; one that comes meanwhile reaches us afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- In the other process -----------------------------------------------------------------------------------------


def _work(connection: Connection, level: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(level)
    logger.addHandler(_Sent(connection))
    logger.propagate = False
    sources: dict[Any, RecordingSource] = {}
    # The other end is closed when there is nothing more to do.
    with contextlib.suppress(EOFError):
        while True:
            order: Order = connection.recv()
            if failure := _failure(order, sources, connection):
                connection.send(("error", failure))


def _failure(order: Order, sources: dict[Any, RecordingSource], connection: Connection) -> Exception | None:
    try:
        key = order.located.model_dump_json(), order.base_dir
        if key not in sources:
            sources[key] = order.located.build(order.base_dir)
        make_session(order, sources[key], _Told(connection))
    except VisionCoreError as error:
        return type(error)(str(error))
    except Exception as error:
        error.add_note(
            f"while session '{order.id}' was prepared in another process:\n{traceback.format_exc()}"
        )
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(error.__notes__[-1])
        return error
    return None


class _Told:
    """A `Watcher` that tells the process that started this one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, n_bins: int) -> None:
        self._connection.send(("begin", n_bins))

    def advance(self, n_bins: int) -> None:
        self._connection.send(("advance", n_bins))

    def finish(self) -> None:
        self._connection.send(("finish", None))


class _Sent(logging.handlers.QueueHandler):
    """What is logged is logged by the process that started this one."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)  # type: ignore[arg-type]
        self._connection = connection

    def enqueue(self, record: logging.LogRecord) -> None:
        self._connection.send(("log", record))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
