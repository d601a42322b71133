"""The random lifecycles detect bugs that are put into the library on purpose."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from include.dbt_cloud import operator, submitter, trigger
from include.dbt_cloud.checkpoint import Checkpoint
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.submitter import JobRunSubmitter
from tests.simulation.test_random_lifecycles import violations

# Enough for each of these bugs; others, such as reading only one page of a list, take thousands.
ATTEMPTS = 500


def retry_every_request(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DbtCloudHook, "_may_send_again", lambda self, error: getattr(error, "retryable", False))


def save_no_submission(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkpoint, "save_submission", lambda self, submission: None)


def ignore_clears(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JobRunSubmitter, "_is_cleared_since", lambda self, last, run: False)


def forget_runs_of_an_emptied_store(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JobRunSubmitter, "_cancel_untracked", lambda self: None)


def adopt_by_instance_tag(patch: pytest.MonkeyPatch) -> None:
    find = submitter.find_tagged_run
    patch.setattr(
        submitter, "find_tagged_run", lambda runs, tag, *more: find(runs, tag.partition("-")[0], *more)
    )


def adopt_by_job(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        submitter, "find_tagged_run", lambda runs, *_: max(runs, key=lambda run: run.id, default=None)
    )


def cancel_whatever_the_task_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trigger, "task_state", lambda ti: "failed")
    patch.setattr(operator, "task_state", lambda ti: "failed")


def cancel_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DbtCloudHook, "cancel_job_run", lambda *_: None)


def look_only_once(patch: pytest.MonkeyPatch) -> None:
    find = JobRunSubmitter.find
    patch.setattr(
        JobRunSubmitter, "find", lambda self, submission, wait, tolerance: find(self, submission, 0, 0)
    )


def take_a_canceled_run_for_success(patch: pytest.MonkeyPatch) -> None:
    outcome = cast("Any", JobRun.outcome).fget
    patch.setattr(
        JobRun, "outcome", property(lambda run: (outcome(run) or "").replace("cancelled", "success") or None)
    )


def believe_any_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operator, "is_event_of", lambda *_: True)


MUTATIONS = [
    retry_every_request,
    save_no_submission,
    ignore_clears,
    forget_runs_of_an_emptied_store,
    adopt_by_instance_tag,
    adopt_by_job,
    cancel_whatever_the_task_state,
    cancel_nothing,
    believe_any_event,
    look_only_once,
    take_a_canceled_run_for_success,
]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_random_lifecycles_find_a_broken_library(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    assert any(violations(seed) for seed in range(ATTEMPTS))
