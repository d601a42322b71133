"""The tag that a task instance puts into the cause of its runs."""

import json
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import Variable

from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.run_tags import (
    deployment_id,
    find_tagged_run,
    instance_tag,
    run_tag,
    tagged_cause,
)
from tests.task_instance import TaskInstance

# Characters of one to four bytes, and control ones.
NAME_CHARACTERS = "aZ09_-.:+~@{}[]\"\\'|\n\x00é\u07c0\u2028漢\ufffd😀\U0010ffff"
REASONS = ["", " ", "\n", "0", "null", '"text"', "[]", "{}", '{"parent"', "[airflow 0123-45]", "x" * 400]


def run(run_id: int, cause: str, retrying: int | None = None) -> JobRun:
    return JobRun(run_id, status=10, cause=cause, retrying_run_id=retrying)


def found_id(found: JobRun | None) -> int | None:
    return found.id if found else None


def random_text(random: Random, characters: str, lengths: list[int]) -> str:
    """Return a text whose length is one of the given bounds or lies between two of them."""
    first, second = random.choices(lengths, k=2)
    length = random.choice([first, random.randint(min(first, second), max(first, second))])
    return "".join(random.choices(characters, k=length))


def test_a_cause_names_the_try_and_ends_in_its_tag() -> None:
    ti = TaskInstance("sales", "scheduled__2026-01-01", "load.trigger_job", map_index=3, try_number=2)
    tag = run_tag(ti, "d")
    assert (
        tagged_cause(ti, tag, "Nightly")
        == f"Nightly: sales, scheduled__2026-01-01, load.trigger_job[3], try 2 {tag}"
    )
    assert len(tag) < 40


def test_a_cause_keeps_its_whole_tag_at_any_length_of_names() -> None:
    random = Random(20261124)
    for _ in range(2000):
        dag_id, run_id, task_id = (random_text(random, NAME_CHARACTERS, [1, 40, 250]) for _ in range(3))
        ti = TaskInstance(dag_id, run_id, task_id, map_index=random.choice([-1, 0, 7, 10_000]))
        reason = random.choice([*REASONS, random_text(random, NAME_CHARACTERS + " /[]#", [0, 100, 400])])
        tag = run_tag(ti, "d")
        cause = tagged_cause(ti, tag, reason)
        assert len(cause) <= 255
        assert cause.endswith(tag)
        assert find_tagged_run([run(1, cause)], tag)


@pytest.mark.parametrize(
    "other",
    [
        {"dag_id": "another"},
        {"run_id": "another"},
        {"task_id": "another"},
        {"map_index": 1},
        {"dag_id": "a_dag", "run_id": "a_run/t", "task_id": ""},
    ],
)
@pytest.mark.parametrize("length", [1, 100])
def test_no_other_task_instance_has_the_same_tag(other: dict[str, Any], length: int) -> None:
    fields: dict[str, Any] = {"dag_id": "d" * length, "run_id": "r", "task_id": "t", "map_index": 11}
    mine, others = TaskInstance(**fields), TaskInstance(**fields | other)
    assert instance_tag(mine, "d") != instance_tag(others, "d")
    assert find_tagged_run([run(1, f"x {run_tag(others, 'd')}")], run_tag(mine, "d")) is None


def test_another_deployment_with_the_same_dags_has_other_tags() -> None:
    assert instance_tag(TaskInstance(), "laptop") != instance_tag(TaskInstance(), "production")


def test_tries_have_their_own_tags_with_a_common_prefix() -> None:
    ti = TaskInstance()
    first = run_tag(ti, "d")
    assert first.startswith(instance_tag(ti, "d"))
    ti.id = uuid4()
    assert run_tag(ti, "d") != first
    assert run_tag(ti, "d").startswith(instance_tag(ti, "d"))


def test_the_deployment_id_is_created_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: values.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, description: values.update({key: value}))
    monkeypatch.setattr("include.dbt_cloud.run_tags.SETTLE_TIME", 0)
    first = deployment_id()
    assert len(first) == 32
    assert deployment_id() == first
    assert list(values) == ["dbt_cloud_deployment_id"]


def test_two_tasks_that_create_the_deployment_id_at_once_agree_on_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: values.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, description: values.update({key: value}))
    store_another = lambda _: values.update(dbt_cloud_deployment_id="another")  # noqa: E731
    monkeypatch.setattr("include.dbt_cloud.run_tags.time.sleep", store_another)
    assert deployment_id() == "another"


def test_openlineage_can_still_read_the_cause() -> None:
    lineage = {"parent": {"run": {"runId": "0" * 36}}, "root": {"run": {"runId": "1" * 36}}}
    ti = TaskInstance()
    tag = run_tag(ti, "d")
    cause = tagged_cause(ti, tag, json.dumps(lineage))
    assert json.loads(cause) == lineage | {"tag": tag}
    assert find_tagged_run([run(1, cause)], tag)
    lineage["root"]["run"]["runId"] *= 4
    assert json.loads(tagged_cause(ti, tag, json.dumps(lineage))) == {
        "parent": lineage["parent"],
        "tag": tag,
    }
    lineage["parent"]["run"]["runId"] *= 9
    assert tagged_cause(ti, tag, json.dumps(lineage)).endswith(f" {tag}")


def test_the_newest_tagged_run_is_found_in_any_order_and_so_is_its_retry() -> None:
    tag = run_tag(TaskInstance(), "d")
    others = [run(6, "x"), run(5, ""), run(4, "")]
    assert find_tagged_run(others, tag) is None
    assert found_id(find_tagged_run([run(1, f"x {tag}"), *others, run(2, f"x {tag}")], tag)) == 2
    retries = [run(8, "Retry of run 2", 2), run(9, "Retry of run 8", 8), run(7, "Retry of run 6", 6)]
    assert found_id(find_tagged_run([*retries, *others, run(2, f"x {tag}")], tag)) == 9
    assert found_id(find_tagged_run([run(3, "Retry of run 2", 2), run(2, "x")], tag, continued_run=2)) == 3
