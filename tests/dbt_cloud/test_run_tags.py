"""The tag of a task instance in the cause of its runs."""

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.run_tags import find_tagged_run, run_tag, tagged_cause
from tests.task_instance import TaskInstance

# Characters of names: of one to four bytes, and control characters, but not the separators of a tag.
NAME_CHARACTERS = "aZ09_-.:+~@{}\"\\'|\n\x00é\u07c0\u2028漢\ufffd😀\U0010ffff"
REASONS = ["", " ", "\n", "0", "null", '"text"', "[]", "{}", '{"parent"', "[airflow a/b/c #2]", "x" * 400]


def test_a_tag_is_readable() -> None:
    ti = TaskInstance("sales", "scheduled__2026-01-01", "load.trigger_job", map_index=3, max_tries=2)
    assert run_tag(ti) == "[airflow sales/scheduled__2026-01-01/load.trigger_job/3 #2]"
    assert run_tag(TaskInstance("sales", "r", "t")) == "[airflow sales/r/t #2]"


def random_text(random: Random, characters: str, lengths: list[int]) -> str:
    """Return a text whose length is one of the given ones or between two of them."""
    first, second = random.choices(lengths, k=2)
    length = random.choice([first, random.randint(min(first, second), max(first, second))])
    return "".join(random.choices(characters, k=length))


def test_a_cause_contains_the_whole_tag_at_any_length_of_names() -> None:
    random = Random(20261124)
    for _ in range(2000):
        dag_id, run_id, task_id = (random_text(random, NAME_CHARACTERS, [1, 40, 250]) for _ in range(3))
        map_index, max_tries = random.choice([-1, 0, 7, 10_000]), random.choice([0, 2, 10_000])
        reason = random.choice([*REASONS, random_text(random, NAME_CHARACTERS + " /[]#", [0, 100, 400])])
        tag = run_tag(TaskInstance(dag_id, run_id, task_id, map_index=map_index, max_tries=max_tries))
        cause = tagged_cause(tag, reason)
        assert len(cause) <= 255
        assert cause.endswith(tag)
        assert cause.removesuffix(tag).strip() == reason[: 254 - len(tag)].strip()


@pytest.mark.parametrize(
    "other",
    [
        {"dag_id": "another"},
        {"run_id": "another"},
        {"task_id": "another"},
        {"map_index": 1},
        {"max_tries": 23},
        {"dag_id": "a_dag", "run_id": "a_run/t", "task_id": ""},
    ],
)
@pytest.mark.parametrize("length", [1, 100])
def test_no_other_task_instance_has_the_same_tag(other: dict[str, Any], length: int) -> None:
    ti = TaskInstance("d" * length, "r", "t", map_index=11, max_tries=2)
    mine, others = run_tag(ti), run_tag(replace(ti, **other))
    assert mine != others
    assert find_tagged_run([run(1, f"x {others}")], mine) is None


def test_all_tries_share_a_tag_and_a_clear_changes_it() -> None:
    ti = TaskInstance()
    first = run_tag(ti)
    ti.try_number = 2
    assert run_tag(ti) == first
    ti.max_tries = 4
    assert run_tag(ti) != first


def test_openlineage_can_still_read_the_cause() -> None:
    lineage = {"parent": {"run": {"runId": "0" * 36}}, "root": {"run": {"runId": "1" * 36}}}
    tag = run_tag(TaskInstance())
    cause = tagged_cause(tag, json.dumps(lineage))
    assert json.loads(cause) == lineage | {"tag": tag}
    assert find_tagged_run([run(1, cause)], tag)
    lineage["root"]["run"]["runId"] *= 4
    assert json.loads(tagged_cause(tag, json.dumps(lineage))) == {"parent": lineage["parent"], "tag": tag}
    lineage["parent"]["run"]["runId"] *= 5
    shortest = tagged_cause(tag, json.dumps(lineage))
    assert json.loads(shortest)["parent"] == lineage["parent"]
    assert find_tagged_run([run(1, shortest)], tag)
    assert find_tagged_run([run(1, shortest)], run_tag(TaskInstance(max_tries=7))) is None
    lineage["parent"]["run"]["runId"] *= 2
    assert tagged_cause(tag, json.dumps(lineage)).endswith(f" {tag}")
    assert tagged_cause(tag, '{"a": "reason"}') == f'{{"a": "reason"}} {tag}'


def test_the_tag_of_a_non_ascii_name_is_found_in_openlineages_cause() -> None:
    tag = run_tag(TaskInstance(dag_id="größe"))
    assert find_tagged_run([run(1, tagged_cause(tag, '{"parent": {}}'))], tag)


def find_id(runs: list[JobRun], tag: str) -> int | None:
    found = find_tagged_run(runs, tag)
    return found.id if found else None


def run(run_id: int, cause: str, retrying: int | None = None) -> JobRun:
    return JobRun(run_id, status=10, cause=cause, retrying_run_id=retrying)


def test_the_newest_tagged_run_is_found_among_others_and_so_is_its_retry() -> None:
    tag = run_tag(TaskInstance())
    others = [run(6, "x"), run(5, ""), run(4, "")]
    assert find_tagged_run(others, tag) is None
    assert find_id([*others, run(2, f"x {tag}"), run(1, f"x {tag}")], tag) == 2
    retries = [run(9, "Retry of run 8", 8), run(8, "Retry of run 2", 2), run(7, "Retry of run 6", 6)]
    assert find_id([*retries, *others, run(2, f"x {tag}")], tag) == 9
