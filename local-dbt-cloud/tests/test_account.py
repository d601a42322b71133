"""The account file: the one the project brings, and what is said of a wrong one."""

from pathlib import Path

import pytest
import yaml

from local_dbt_cloud.account import read_declaration
from local_dbt_cloud.cli import DEMO_ACCOUNT
from local_dbt_cloud.errors import UserError


def test_the_account_that_the_project_brings() -> None:
    declaration = read_declaration(DEMO_ACCOUNT)
    assert declaration.account.id == 1
    assert {project.id: project.name for project in declaration.projects} == {1: "Jaffle Shop"}
    assert [environment.id for environment in declaration.environments] == [1]
    assert {job.id: job.name for job in declaration.jobs} == {
        101: "Build jaffle shop",
        102: "Build jaffle shop, one model fails",
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.pop("account"), "wrong at account: Field required"),
        (
            lambda a: a["jobs"][0].update(exeute_steps=[]),
            "wrong at jobs.0: 'exeute_steps' is not a known word, did you mean 'execute_steps'",
        ),
        (lambda a: a["jobs"][0].update(execute_steps=["make me a sandwich"]), "is not a dbt command"),
        (lambda a: a["jobs"][0].update(environment_id=9), "job 1 names environment 9, which is not declared"),
        (lambda a: a["environments"][0].update(project_id=9), "environment 1 names project 9"),
        (lambda a: a["jobs"][1].update(id=1), "two entries have the job id 1"),
        (lambda a: a["account"].update(run_slots=0), "wrong at account.run_slots"),
        (
            lambda a: a["environments"][0].update(database="../../x.duckdb"),
            "wrong at environments.0.database",
        ),
        (lambda a: a["projects"][0].update(directory="."), "has no dbt_project.yml"),
    ],
)
def test_a_wrong_account_file_is_refused_in_a_sentence(tiny_account: Path, change, sentence: str) -> None:
    account = yaml.safe_load(tiny_account.read_text())
    change(account)
    tiny_account.write_text(yaml.safe_dump(account))
    with pytest.raises(UserError, match=sentence):
        read_declaration(tiny_account)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"{", "is not YAML"), (b"", "is wrong"), (b"\xff", "Cannot read")]
)
def test_a_file_that_is_no_account_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "account.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_declaration(file)
    with pytest.raises(UserError, match="Cannot read"):
        read_declaration(tmp_path / "none.yaml")
