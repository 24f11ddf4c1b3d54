"""A worker process of a sweep."""

from __future__ import annotations

import multiprocessing.connection
import os
import pickle
import signal
import threading
import time

from genkern.sweep import _cell
from genkern.sweep._batches import BATCH_SECONDS
from genkern.sweep._task import sealed


def serve(pipe: multiprocessing.connection.Connection, threads: int, parent: int) -> None:
    """Run batches of cells until there are no more; each result is sent as soon as it is there."""
    end_with(parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        pipe.send(("hello", None))
        try:
            task = sealed(pickle.loads(pipe.recv_bytes()))
        except Exception as error:
            pipe.send(("broken", _cell.describe(error)))
            return
        pipe.send(("ready", None))
        with _cell.thread_limit(threads):
            while (batch := pipe.recv()) is not None:
                start = time.perf_counter()
                for i, parameters in enumerate(batch):
                    if i and time.perf_counter() - start > BATCH_SECONDS:
                        pipe.send(("rest", len(batch) - i))
                        break
                    pipe.send(("done", _cell.call(task, parameters)))
    except (EOFError, OSError):  # the parent is gone
        return


def end_with(parent: int) -> None:
    """End this process when its parent is killed, in the middle of a cell too; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
