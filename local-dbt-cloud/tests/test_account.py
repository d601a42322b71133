"""Loading of account.yaml: the demo account, and error messages for invalid files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.account import load_account_config
from local_dbt_cloud.cli import DEMO_ACCOUNT
from local_dbt_cloud.errors import UserError


def after(job_id: int) -> dict[str, Any]:
    return {"condition": {"job_id": job_id, "project_id": 1}}


def test_demo_account_is_valid() -> None:
    config = load_account_config(DEMO_ACCOUNT)
    assert config.account.id == 1
    assert {project.id: project.name for project in config.projects} == {1: "Jaffle Shop"}
    assert [environment.id for environment in config.environments] == [1]
    assert {job.id: job.name for job in config.jobs} == {
        100: "Refresh customers",
        101: "Build jaffle shop",
        102: "Build jaffle shop, one model fails",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("account"), "invalid at account: Field required"),
        (
            lambda a: a["jobs"][0].update(exeute_steps=[]),
            "invalid at jobs.0: 'exeute_steps' is not a known field; did you mean 'execute_steps'",
        ),
        (lambda a: a["jobs"][0].update(execute_steps=["make me a sandwich"]), "is not a dbt command"),
        (
            lambda a: a["jobs"][0].update(environment_id=9),
            "job 1 refers to environment 9, which is not declared",
        ),
        (lambda a: a["environments"][0].update(project_id=9), "environment 1 refers to project 9"),
        (lambda a: a["jobs"][1].update(id=1), "job id 1 is declared more than once"),
        (
            lambda a: a["jobs"][0].update(schedule={"cron": "0 0 30 2 *"}),
            "jobs.0.schedule: '0 0 30 2 .' is not a cron expression of five fields that matches a future",
        ),
        (
            lambda a: a["jobs"][0].update(simulation=[{"status": "running"}]),
            "jobs.0.simulation.0.status: a course ends with status success, error or cancelled",
        ),
        (
            lambda a: a["jobs"][0].update(job_completion_trigger_condition=after(9)),
            "Job 'one' runs after job 9, which does not exist",
        ),
        (
            lambda a: [a["jobs"][i].update(job_completion_trigger_condition=after(2 - i)) for i in (0, 1)],
            "Job 1 would run after itself: remove a completion trigger",
        ),
        (lambda a: a["account"].update(run_slots=0), "invalid at account.run_slots"),
        (
            lambda a: a["environments"][0].update(database="../../x.duckdb"),
            "invalid at environments.0.database",
        ),
        (lambda a: a["projects"][0].update(directory="."), "has no dbt_project.yml"),
        (lambda a: a["projects"][0].update(directory="a\0b"), "has no dbt_project.yml"),
        (lambda a: a["projects"][0].update(directory="x" * 5000), "has no dbt_project.yml"),
    ],
)
def test_invalid_entry_is_reported_with_its_location(tiny_account: Path, change, message: str) -> None:
    account = yaml.safe_load(tiny_account.read_text())
    change(account)
    tiny_account.write_text(yaml.safe_dump(account))
    with pytest.raises(UserError, match=message):
        load_account_config(tiny_account)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid YAML"),
        (b"[" * 2000, "is not valid YAML"),
        (b"projects: []\njobs: []\nprojects: []", "is not valid YAML: 'projects' occurs twice"),
        (b"", "is invalid"),
        (b"\xff", "Cannot read"),
    ],
)
def test_unreadable_account_file_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "account.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_account_config(file)
    with pytest.raises(UserError, match="Cannot read"):
        load_account_config(tmp_path / "none.yaml")
