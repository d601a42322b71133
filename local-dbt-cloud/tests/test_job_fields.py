"""Fields of jobs that dbt Cloud derives: the type, the schedule, its next run, optimizations."""

from datetime import UTC, datetime
from typing import Any

import pytest

from local_dbt_cloud.schedule import next_run
from running_cloud import RunningCloud


def created(cloud: RunningCloud, **fields: Any) -> dict[str, Any]:
    return cloud.post("jobs/", {"name": "x", "environment_id": 1, "execute_steps": ["dbt build"], **fields})


@pytest.mark.parametrize(
    ("triggers", "given", "derived"),
    [
        ({}, None, "other"),
        ({"schedule": True}, None, "scheduled"),
        ({"schedule": True}, "other", "scheduled"),
        ({"schedule": False}, "scheduled", "other"),
        ({"github_webhook": True}, None, "ci"),
        ({"git_provider_webhook": True, "schedule": True}, None, "ci"),
        ({"on_merge": True}, None, "merge"),
        ({}, "ci", "ci"),
        ({}, "merge", "merge"),
        ({"schedule": True}, "adaptive", "adaptive"),
    ],
)
def test_type_follows_the_triggers_unless_it_is_fixed(
    cloud: RunningCloud, triggers: dict[str, bool], given: str | None, derived: str
) -> None:
    job = created(cloud, triggers=triggers, job_type=given)
    assert job["job_type"] == derived
    assert cloud.get(f"jobs/{job['id']}/")["job_type"] == derived


def test_type_changes_with_the_schedule_trigger(cloud: RunningCloud) -> None:
    job = created(cloud)
    for on, job_type in ((True, "scheduled"), (False, "other")):
        updated = cloud.post(f"jobs/{job['id']}/", {"id": job["id"], "triggers": {"schedule": on}})
        assert updated["job_type"] == job_type


# As recorded from dbt Cloud, or as its user interface writes them.
@pytest.mark.parametrize(
    ("given", "expected", "humanized"),
    [
        (
            {"date": {"type": "every_day"}, "time": {"type": "every_hour", "interval": 1}},
            {
                "cron": "0 * * * *",
                "date": {"type": "every_day"},
                "time": {"type": "every_hour", "interval": 1},
            },
            "Every hour",
        ),
        (
            # The Terraform provider sends all fields; those of other types do not count.
            {"cron": "1 1 1 1 1", "date": {"type": "every_day", "days": [1], "cron": "2 2 2 2 2"},
             "time": {"type": "at_exact_hours", "interval": 0, "hours": [0, 4, 20]}},
            {
                "cron": "0 0,4,20 * * *",
                "date": {"type": "every_day"},
                "time": {"type": "at_exact_hours", "hours": [0, 4, 20]},
            },
            "At 12:00 AM, 04:00 AM and 08:00 PM",
        ),
        (
            {"date": {"type": "days_of_week", "days": [1, 3]}, "time": {"type": "every_hour", "interval": 6}},
            {
                "cron": "0 */6 * * 1,3",
                "date": {"type": "days_of_week", "days": [1, 3]},
                "time": {"type": "every_hour", "interval": 6},
            },
            "Every 6 hours, only on Monday and Wednesday",
        ),
        (
            {"date": {"type": "custom_cron", "cron": "5 4 * * 1-5"}, "time": {"type": "every_hour"}},
            {
                "cron": "5 4 * * 1-5",
                "date": {"type": "custom_cron", "cron": "5 4 * * 1-5"},
                "time": {"type": "every_hour", "interval": 1},
            },
            "At 04:05 AM, Monday through Friday",
        ),
        (
            {"date": {"type": "interval_cron", "cron": "6 */12 * * 0,1,2,3,4,5,6"},
             "time": {"type": "every_hour", "interval": 12}},
            {
                "cron": "6 */12 * * 0,1,2,3,4,5,6",
                "date": {
                    "type": "interval_cron",
                    "days": [0, 1, 2, 3, 4, 5, 6],
                    "cron": "6 */12 * * 0,1,2,3,4,5,6",
                },
                "time": {"type": "every_hour", "interval": 12},
            },
            "At 6 minutes past the hour, every 12 hours, only on Sunday, Monday, Tuesday, Wednesday, "
            "Thursday, Friday, and Saturday",
        ),
        (
            {"cron": "0 7 * * 1"},
            {
                "cron": "0 7 * * 1",
                "date": {"type": "custom_cron", "cron": "0 7 * * 1"},
                "time": {"type": "every_hour", "interval": 1},
            },
            "At 07:00 AM, only on Monday",
        ),
    ],
)  # fmt: skip
def test_schedule_is_returned_as_dbt_cloud_derives_it(
    cloud: RunningCloud, given: dict[str, Any], expected: dict[str, Any], humanized: str
) -> None:
    job = created(cloud, schedule=given)
    assert job["schedule"] == expected
    assert job["cron_humanized"] == humanized
    # A client that sends back what it read changes nothing.
    assert cloud.post(f"jobs/{job['id']}/", job)["schedule"] == expected


def test_every_schedule_type_replaces_the_previous_one(cloud: RunningCloud) -> None:
    job = created(cloud, schedule={"date": {"type": "days_of_week", "days": [1]}})
    every_day = {"id": job["id"], "schedule": {"date": {"type": "every_day"}}}
    assert cloud.post(f"jobs/{job['id']}/", every_day)["schedule"]["cron"] == "0 * * * *"


@pytest.mark.parametrize("date", [{"type": "every_day"}, {"type": "custom_cron", "cron": "5 4 * * 1"}])
def test_new_cron_expression_replaces_the_stored_date(cloud: RunningCloud, date: dict[str, Any]) -> None:
    job = created(cloud, schedule={"date": date})
    path, body = f"jobs/{job['id']}/", {"id": job["id"]}
    # Without a new expression, the date is kept.
    kept = cloud.post(path, body | {"schedule": {"time": {"type": "every_hour", "interval": 2}}})["schedule"]
    assert kept["date"] == job["schedule"]["date"]
    for more in ({}, {"date": None}):
        updated = cloud.post(path, body | {"schedule": {"cron": "0 7 * * *"} | more})["schedule"]
        assert updated["date"] == {"type": "custom_cron", "cron": "0 7 * * *"}
        assert updated["cron"] == "0 7 * * *"


@pytest.mark.parametrize(
    "schedule",
    [
        {"date": {"type": "custom_cron", "cron": "every day"}},
        {"date": {"type": "custom_cron", "cron": "0 7 * * 1 2030"}},
        {"date": {"type": "custom_cron", "cron": "0 0 30 2 *"}},
        {"date": {"type": "interval_cron", "cron": "R R * * *"}},
        {"cron": "r(1-9) * * * *"},
        {"date": {"type": "days_of_week", "days": [8]}},
        {"time": {"type": "at_exact_hours", "hours": [24]}},
    ],
)
def test_impossible_schedule_is_rejected(cloud: RunningCloud, schedule: dict[str, Any]) -> None:
    body = {"name": "x", "environment_id": 1, "schedule": schedule, "triggers": {"schedule": True}}
    answer = cloud.client.post("jobs/", json=body)
    assert answer.status_code == 400
    assert set(answer.json()["data"]) == {"schedule"}


def test_next_run_is_the_next_time_of_the_schedule() -> None:
    sunday = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert next_run("0 7 * * 1", sunday) == datetime(2026, 11, 23, 7, tzinfo=UTC)


def test_only_a_scheduled_job_has_a_next_run(cloud: RunningCloud) -> None:
    schedule = {"date": {"type": "every_day"}, "time": {"type": "at_exact_hours", "hours": [7]}}
    assert created(cloud, schedule=schedule)["next_run"] is None
    job = created(cloud, schedule=schedule, triggers={"schedule": True})
    assert datetime.fromisoformat(job["next_run"]) > datetime.now(UTC)
    assert job["next_run"].endswith("T07:00:00+00:00")
    assert any(unit in job["next_run_humanized"] for unit in ("hour", "minute", "day"))


@pytest.mark.parametrize(
    ("given", "features", "force"),
    [
        ({}, [], None),
        ({"cost_optimization_features": ["state_aware_orchestration"]}, ["state_aware_orchestration"], False),
        ({"cost_optimization_features": ["efficient_testing"]}, ["efficient_testing"], True),
        (
            {"cost_optimization_features": ["dbt_state", "state_aware_orchestration"]},
            ["dbt_state"],
            False,
        ),
        ({"force_node_selection": False}, ["state_aware_orchestration"], False),
        ({"force_node_selection": True}, [], True),
    ],
)
def test_optimizations_determine_force_node_selection(
    cloud: RunningCloud, given: dict[str, Any], features: list[str], force: bool | None
) -> None:
    job = created(cloud, **given)
    assert (job["cost_optimization_features"], job["force_node_selection"]) == (features, force)


def test_update_of_one_optimization_field_replaces_the_other(cloud: RunningCloud) -> None:
    job = created(cloud, cost_optimization_features=["state_aware_orchestration"])
    path, body = f"jobs/{job['id']}/", {"id": job["id"]}
    assert cloud.post(path, body | {"force_node_selection": True})["cost_optimization_features"] == []
    cloud.post(path, body | {"force_node_selection": False})
    updated = cloud.post(path, body | {"cost_optimization_features": []})
    assert (updated["cost_optimization_features"], updated["force_node_selection"]) == ([], None)
