"""The mark that a task leaves in its runs: whose it is, what it looks like, and who else has one."""

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest

from include.dbt_cloud.own_runs import cause_with, mark_of, newest_own_run

# The first and the last character of what encodes to one, two, three and four bytes in UTF-8.
PLANES = ((0x00, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
# Whitespace of all kinds, and what JSON and OpenLineage's cause are written with.
SPECIAL = "\0\t\n\r\x1c\x85\xa0\u2028\u3000\ufeff \"'\\{}[]:,/#~"


@dataclass
class TaskInstance:
    """What a mark is made of."""

    dag_id: str = "a_dag"
    run_id: str = "manual__2026-01-01T00:00:00+00:00"
    task_id: str = "trigger_job"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 2


def random_text(rng: random.Random, shortest: int, longest: int, without: str = "") -> str:
    """Return a text of any length and any characters, often an edge case of either."""
    length = rng.choice([shortest, shortest + 1, longest, rng.randint(shortest, longest)])
    special = [character for character in SPECIAL if character not in without]

    def character() -> str:
        if rng.random() < 0.3:
            return rng.choice(special)
        plane = rng.choice(PLANES)
        drawn = chr(rng.choice([*plane, rng.randint(*plane)]))
        return "x" if drawn in without else drawn

    if rng.random() < 0.3:
        return character() * length
    return "".join(character() for _ in range(length))


def test_a_mark_can_be_read() -> None:
    ti = TaskInstance("sales", "scheduled__2026-01-01", "load.trigger_job", map_index=3, max_tries=2)
    assert mark_of(ti) == "[airflow sales/scheduled__2026-01-01/load.trigger_job/3 #2]"
    assert mark_of(TaskInstance("sales", "r", "t")) == "[airflow sales/r/t #2]"


@pytest.mark.parametrize("seed", range(200))
def test_a_cause_holds_its_mark_whole_however_long_the_names_are(seed: int) -> None:
    rng = random.Random(seed)
    names = [random_text(rng, 1, 250, without="/[]# ") for _ in range(3)]
    map_index, max_tries = rng.choice([-1, 0, rng.randint(-1, 10_000)]), rng.randint(0, 10_000)
    reason = random_text(rng, 0, 400)
    mark = mark_of(TaskInstance(*names, map_index, max_tries=max_tries))
    cause = cause_with(mark, reason)
    assert len(cause) <= 255
    assert cause.endswith(mark)
    assert cause.removesuffix(mark).strip() == reason[: 254 - len(mark)].strip()


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
def test_no_other_task_instance_has_the_same_mark(other: dict[str, Any], length: int) -> None:
    fields = {"dag_id": "d" * length, "run_id": "r", "task_id": "t", "map_index": 11, "max_tries": 2}
    mine, others = mark_of(TaskInstance(**fields)), mark_of(TaskInstance(**fields | other))
    assert mine != others
    assert newest_own_run([run(1, f"x {others}")], mine) is None


def test_all_tries_have_the_same_mark_and_a_clear_begins_another() -> None:
    ti = TaskInstance()
    first = mark_of(ti)
    ti.try_number = 2
    assert mark_of(ti) == first
    ti.max_tries = 4
    assert mark_of(ti) != first


def test_openlineage_can_still_read_the_cause() -> None:
    lineage = {"parent": {"run": {"runId": "0" * 36}}, "root": {"run": {"runId": "1" * 36}}}
    mark = mark_of(TaskInstance())
    cause = cause_with(mark, json.dumps(lineage))
    assert json.loads(cause) == lineage | {"mark": mark}
    assert newest_own_run([run(1, cause)], mark)
    lineage["root"]["run"]["runId"] *= 4
    assert json.loads(cause_with(mark, json.dumps(lineage))) == {"parent": lineage["parent"], "mark": mark}
    lineage["parent"]["run"]["runId"] *= 5
    shortest = cause_with(mark, json.dumps(lineage))
    assert json.loads(shortest)["parent"] == lineage["parent"]
    assert newest_own_run([run(1, shortest)], mark)
    assert newest_own_run([run(1, shortest)], mark_of(TaskInstance(max_tries=7))) is None
    lineage["parent"]["run"]["runId"] *= 2
    assert cause_with(mark, json.dumps(lineage)).endswith(f" {mark}")
    assert cause_with(mark, '{"a": "reason"}') == f'{{"a": "reason"}} {mark}'


def test_the_mark_of_a_name_beyond_ascii_is_found_in_openlineages_cause() -> None:
    mark = mark_of(TaskInstance(dag_id="größe"))
    assert newest_own_run([run(1, cause_with(mark, '{"parent": {}}'))], mark)


def run(run_id: int, cause: str | None, retrying: int | None = None) -> dict[str, Any]:
    return {"id": run_id, "trigger": {"cause": cause}, "retrying_run_id": retrying}


def test_the_newest_own_run_is_found_among_others_and_so_is_its_retry() -> None:
    mark = mark_of(TaskInstance())
    others = [run(6, "x"), run(5, None), {"id": 4, "trigger": None, "retrying_run_id": None}]
    assert newest_own_run(others, mark) is None
    assert newest_own_run([*others, run(2, f"x {mark}"), run(1, f"x {mark}")], mark)["id"] == 2
    retries = [run(9, "Retry of run 8", 8), run(8, "Retry of run 2", 2), run(7, "Retry of run 6", 6)]
    assert newest_own_run([*retries, *others, run(2, f"x {mark}")], mark)["id"] == 9
