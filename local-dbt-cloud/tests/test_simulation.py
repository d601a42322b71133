"""Simulated jobs: declared in code or in account.yaml, their courses, and the results they serve."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.testing import course
from running_cloud import RunningCloud, running_cloud


def triggered(cloud: RunningCloud, job_id: int, **body: Any) -> dict[str, Any]:
    return cloud.wait(cloud.trigger(job_id, **body)["id"])


def artifact(cloud: RunningCloud, run: dict[str, Any], path: str = "run_results.json") -> Any:
    return cloud.client.get(f"runs/{run['id']}/artifacts/{path}").json()


def test_simulated_run_has_the_steps_and_results_of_its_course(cloud: RunningCloud) -> None:
    results = {"model.shop.orders": "success", "test.shop.not_null": "fail"}
    job_id = cloud.add_job("Nightly", course(results=results, message="1 failure", artifacts={"x.json": [1]}))
    run = triggered(cloud, job_id)
    assert (run["status"], run["status_message"]) == (RunStatus.ERROR, "1 failure")
    assert [(step["name"], step["status"]) for step in run["run_steps"]] == [
        ("Clone git repository", 10),
        ("Create profile from connection DuckDB", 10),
        ("Invoke dbt with `dbt deps`", 10),
        ("Invoke dbt with `dbt build`", 20),
    ]
    served = {one["unique_id"]: one["status"] for one in artifact(cloud, run)["results"]}
    assert served == results
    assert artifact(cloud, run, "x.json") == [1]
    assert run["can_retry"] is True
    assert run["created_at"] < run["dequeued_at"] < run["started_at"] < run["finished_at"]


def test_each_run_follows_the_next_course_and_the_last_repeats(cloud: RunningCloud) -> None:
    cloud.simulate(101, course("error"), course("success"))
    assert [triggered(cloud, 101)["status"] for _ in range(3)] == [20, 10, 10]
    # A retry is a run too.
    cloud.simulate(101, course("error"), course("success"))
    failed = triggered(cloud, 101)
    assert cloud.wait(cloud.post(f"runs/{failed['id']}/retry/")["id"])["status"] == RunStatus.SUCCESS


def test_simulated_run_without_steps_has_those_of_its_job(cloud: RunningCloud) -> None:
    job_id = cloud.add_job("x", {"status": "error"}, execute_steps=["dbt seed", "dbt run"])
    names = [step["name"] for step in triggered(cloud, job_id)["run_steps"]]
    assert names[3:] == ["Invoke dbt with `dbt seed`", "Invoke dbt with `dbt run`"]


def test_course_passes_through_its_states(cloud: RunningCloud) -> None:
    cloud.simulate(101, course(queued=1, starting=1, running=1))
    run_id = cloud.trigger(101)["id"]
    seen: list[int] = []

    def has_ended(run: dict[str, Any]) -> bool:
        seen.append(run["status"])
        return bool(run["is_complete"])

    cloud.wait(run_id, has_ended)
    assert sorted(set(seen)) == [RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS]


def test_simulated_run_can_be_canceled(cloud: RunningCloud) -> None:
    for waiting in (course(queued=60), course(starting=60), course(running=60)):
        cloud.simulate(101, waiting)
        run = cloud.cancel(cloud.trigger(101)["id"])
        assert (run["status"], run["status_message"]) == (RunStatus.CANCELLED, "Cancelled by user.")


def test_run_that_stays_queued_does_not_block_later_runs(cloud: RunningCloud) -> None:
    cloud.simulate(101, course(queued=60))
    cloud.simulate(102, course())
    cloud.trigger(101)
    assert triggered(cloud, 102)["status"] == RunStatus.SUCCESS


def test_reset_ends_the_simulation(cloud: RunningCloud) -> None:
    cloud.simulate(101, course(running=60))
    cloud.trigger(101)
    cloud.reset()
    assert cloud.runs() == []
    assert cloud.service.scheduler.simulator.next_course(101) is None


@pytest.mark.parametrize(
    "body",
    [
        [],
        [{"status": "done"}],
        [{"status": "queued"}],
        [{}, {"status": 3}],
        [{"running": -1}],
        [{"steps": [{"command": "ls"}]}],
    ],
)
def test_invalid_course_is_rejected(cloud: RunningCloud, body: Any) -> None:
    assert cloud.client.post(f"{cloud.url}/local/jobs/101/simulation", json=body).status_code == 400
    assert cloud.client.post(f"{cloud.url}/local/jobs/9/simulation", json=[{}]).status_code == 404


@pytest.mark.parametrize(
    ("limits", "override", "message"),
    [
        ({"timeout_seconds": 1}, {}, "This run timed out after running for 1 seconds."),
        ({"timeout_seconds": 60}, {"timeout_seconds_override": 1}, "This run timed out after running for 1"),
        ({"timeout_seconds": 1}, {"timeout_seconds_override": 0}, None),
    ],
)
def test_simulated_run_ends_at_the_timeout_of_its_job(
    cloud: RunningCloud, limits: dict[str, int], override: dict[str, int], message: str | None
) -> None:
    job_id = cloud.add_job("x", course(running=1.2), execution=limits)
    run = triggered(cloud, job_id, **override)
    assert run["status"] == (RunStatus.CANCELLED if message else RunStatus.SUCCESS)
    assert (run["status_message"] or "").startswith(message or "")


def test_job_without_an_environment_is_reported(cloud: RunningCloud) -> None:
    cloud.client.delete("environments/1/")
    with pytest.raises(ValueError, match="The account has no environment: create one first"):
        cloud.add_job("x", course())


def test_account_file_declares_simulated_jobs_without_a_project(tmp_path: Path, tiny_account: Path) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())
    del declaration["projects"][0]["directory"]
    declaration["jobs"][0]["simulation"] = [{"status": "error", "status_message": "As declared"}]
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        run = triggered(cloud, 1)
        assert (run["status"], run["status_message"]) == (RunStatus.ERROR, "As declared")
        assert "is not on this machine" in triggered(cloud, 2)["status_message"]
        cloud.reset()
        assert triggered(cloud, 1)["status_message"] == "As declared"
