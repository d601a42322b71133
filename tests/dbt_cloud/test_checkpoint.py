"""The checkpoint of a task instance keeps all facts when writes overlap."""

import logging
import threading
from typing import Any, cast

from include.dbt_cloud.checkpoint import Checkpoint, Submission
from tests.task_instance import Store
from tests.waiting import wait_until


class SlowStore(Store):
    """A store in which a thread's write waits for ``released``."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()
        self.waiting = False

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        if threading.current_thread() is not threading.main_thread():
            self.waiting = True
            assert self.released.wait(10)
        super().set(key, value)


def test_a_slow_write_of_one_fact_keeps_newer_values_of_others() -> None:
    store = SlowStore()
    checkpoint = Checkpoint(store, cast("Any", logging.getLogger()))
    checkpoint.save_submission(Submission("old", 1, ""))
    canceling = threading.Thread(target=checkpoint.save_canceled_run, args=[7])
    canceling.start()
    wait_until(lambda: store.waiting)
    newer = Submission("new", 1, "")
    checkpoint.save_submission(newer)
    store.released.set()
    canceling.join()
    assert checkpoint.load_submission() == newer
    assert checkpoint.is_canceled_by_task(7)
