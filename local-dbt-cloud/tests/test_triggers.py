"""What starts runs besides clients: schedules and the completion of other jobs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_dbt_cloud import schedule_runner
from local_dbt_cloud.database import Run
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.schedule_runner import trigger_due_jobs
from local_dbt_cloud.scheduler import Scheduler
from local_dbt_cloud.testing import Status, course
from running_cloud import RunningCloud

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)


def after(job_id: int, *statuses: int) -> dict[str, Any]:
    return {"condition": {"job_id": job_id, "project_id": 1, "statuses": list(statuses)}}


def chained(cloud: RunningCloud, *statuses: int) -> int:
    """Create a simulated job that runs on completion of job 101, and return its ID."""
    return cloud.add_job("Next", course(), job_completion_trigger_condition=after(101, *statuses))


def causes(cloud: RunningCloud, job_id: int) -> list[str]:
    return [run["trigger"]["cause"] for run in cloud.runs(job_id)]


@pytest.mark.parametrize(("outcome", "count"), [("success", 1), ("error", 0), ("cancelled", 1)])
def test_job_runs_on_completion_of_another(cloud: RunningCloud, outcome: Any, count: int) -> None:
    job_id = chained(cloud, RunStatus.SUCCESS, RunStatus.CANCELLED)
    cloud.simulate(101, course(outcome))
    run = cloud.wait(cloud.trigger(101)["id"])
    assert causes(cloud, job_id) == [f"Completion of run {run['id']} of job 101"] * count
    for chained_run in cloud.runs(job_id):
        assert chained_run["trigger"]["cause_category"] == "job completion"
        assert cloud.wait(chained_run["id"])["is_success"]


def test_job_runs_after_a_cancellation_in_the_queue_and_a_status_set_by_a_test(cloud: RunningCloud) -> None:
    job_id = chained(cloud, RunStatus.CANCELLED, RunStatus.ERROR)
    cloud.pause()
    cloud.cancel(cloud.trigger(101)["id"])
    assert len(causes(cloud, job_id)) == 1
    cloud.set_run(cloud.trigger(101)["id"], "error")
    assert len(causes(cloud, job_id)) == 2


def test_job_runs_after_a_run_that_could_not_be_executed(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = chained(cloud, RunStatus.ERROR)
    create_execution = Scheduler._execution

    def fail_for_job_101(scheduler: Scheduler, run: Run) -> Any:
        if run.job_definition_id == 101:
            raise OSError("disk full")
        return create_execution(scheduler, run)

    monkeypatch.setattr(Scheduler, "_execution", fail_for_job_101)
    run_id = cloud.trigger(101)["id"]
    with pytest.raises(RuntimeError, match="failed to execute this run"):
        cloud.wait(run_id, until=lambda run: run["is_success"])
    assert causes(cloud, job_id) == [f"Completion of run {run_id} of job 101"]


def test_deleted_job_does_not_run_on_completion(cloud: RunningCloud) -> None:
    job_id = chained(cloud, RunStatus.SUCCESS)
    cloud.client.delete(f"jobs/{job_id}/")
    cloud.simulate(101, course())
    cloud.wait(cloud.trigger(101)["id"])
    assert causes(cloud, job_id) == []


def test_reset_triggers_nothing(cloud: RunningCloud) -> None:
    chained(cloud, RunStatus.CANCELLED)
    cloud.simulate(101, course(running=60))
    cloud.trigger(101)
    cloud.reset()
    assert cloud.runs() == []


def test_ended_run_triggers_once_per_status(cloud: RunningCloud) -> None:
    job_id = chained(cloud, RunStatus.SUCCESS, RunStatus.ERROR)
    run_id = cloud.create_run("running")
    outcomes: list[tuple[Status, int]] = [("success", 1), ("success", 1), ("error", 2)]
    for status, count in outcomes:
        cloud.set_run(run_id, status)
        assert len(causes(cloud, job_id)) == count


@pytest.mark.parametrize(
    ("project_id", "upstream", "message"),
    [
        (1, 999, "Job 'Next' runs after job 999, which does not exist."),
        (2, 101, "Job 101 belongs to project 1."),
    ],
)
def test_upstream_job_must_exist_in_the_project(
    cloud: RunningCloud, project_id: int, upstream: int, message: str
) -> None:
    condition = {"condition": {"job_id": upstream, "project_id": project_id}}
    fields = {"name": "Next", "job_completion_trigger_condition": condition}
    for path, more in (("jobs/", {"environment_id": 1}), ("jobs/102/", {"id": 102})):
        answer = cloud.client.post(path, json=fields | more)
        assert answer.status_code == 400
        assert answer.json()["data"] == {"job_completion_trigger_condition": message}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cycle_of_completion_triggers_is_rejected(cloud: RunningCloud, length: int) -> None:
    job_id = 101
    for _ in range(length - 1):
        job_id = cloud.add_job("x", course(), job_completion_trigger_condition=after(job_id, 10))
    body = {"id": 101, "job_completion_trigger_condition": after(job_id, 10)}
    answer = cloud.client.post("jobs/101/", json=body)
    assert answer.status_code == 400
    assert "would run after itself" in answer.json()["data"]["job_completion_trigger_condition"]
    assert cloud.get("jobs/101/")["job_completion_trigger_condition"] is None


def test_job_whose_upstream_job_was_deleted_can_be_updated(cloud: RunningCloud) -> None:
    upstream = cloud.add_job("x", course())
    job_id = cloud.add_job("Next", course(), job_completion_trigger_condition=after(upstream, 10))
    cloud.client.delete(f"jobs/{upstream}/")
    assert cloud.post(f"jobs/{job_id}/", {"id": job_id, "name": "Renamed"})["name"] == "Renamed"


def run_schedules_between(cloud: RunningCloud, begin: datetime, end: datetime) -> None:
    """Trigger due jobs on the event loop of the server."""

    async def trigger() -> None:
        trigger_due_jobs(cloud.service.scheduler, cloud.service.sessions, begin, end)

    asyncio.run_coroutine_threadsafe(trigger(), cloud.loop).result(10)


def scheduled(cloud: RunningCloud, cron: str, *, on: bool = True, queued: float = 0) -> int:
    return cloud.add_job(cron, course(queued=queued), schedule={"cron": cron}, triggers={"schedule": on})


def test_scheduled_jobs_run_at_their_times(cloud: RunningCloud) -> None:
    hourly, daily = scheduled(cloud, "30 * * * *"), scheduled(cloud, "0 7 * * *")
    off = scheduled(cloud, "30 * * * *", on=False)
    minute = timedelta(minutes=1)
    half_past = MIDNIGHT + 30 * minute
    run_schedules_between(cloud, half_past - minute, half_past - minute / 2)
    assert cloud.runs() == []
    run_schedules_between(cloud, half_past - minute / 2, half_past)
    assert [len(cloud.runs(job_id)) for job_id in (hourly, daily, off)] == [1, 0, 0]
    (run,) = cloud.runs(hourly)
    assert run["trigger"]["cause_category"] == "scheduled"
    # A time is not due twice.
    run_schedules_between(cloud, half_past, half_past + minute)
    assert len(cloud.runs()) == 1


def test_missed_schedule_times_start_one_run(cloud: RunningCloud) -> None:
    job_id = scheduled(cloud, "*/5 * * * *")
    run_schedules_between(cloud, MIDNIGHT, MIDNIGHT + timedelta(hours=8))
    assert len(cloud.runs(job_id)) == 1


def test_scheduled_runs_do_not_pile_up(cloud: RunningCloud) -> None:
    job_id = scheduled(cloud, "*/5 * * * *", queued=60)
    for number in range(3):
        begin = MIDNIGHT + timedelta(minutes=5 * number)
        run_schedules_between(cloud, begin, begin + timedelta(minutes=5))
    assert len(cloud.runs(job_id)) == 1


def test_scheduled_job_that_cannot_start_does_not_stop_the_others(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    next_run = schedule_runner.next_run

    def fail_for_hourly_jobs(cron: str, after: datetime) -> datetime:
        if cron == "0 * * * *":
            raise ValueError("no next run")
        return next_run(cron, after)

    monkeypatch.setattr(schedule_runner, "next_run", fail_for_hourly_jobs)
    broken, healthy = scheduled(cloud, "0 * * * *"), scheduled(cloud, "*/5 * * * *")
    run_schedules_between(cloud, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert [len(cloud.runs(job_id)) for job_id in (broken, healthy)] == [0, 1]
    assert f"Failed to trigger scheduled job {broken}: no next run" in caplog.text
