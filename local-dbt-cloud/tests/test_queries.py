"""Property tests: lists of runs and jobs match a model in plain Python for any filters, order and page."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from local_dbt_cloud.cli import DEMO_ACCOUNT
from local_dbt_cloud.database import Run
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest
from local_dbt_cloud.validation import MAX_ID
from running_cloud import RunningCloud, running_cloud

# Deterministic examples, so that a failure in CI can be reproduced.
QUERIES = settings(derandomize=True, deadline=None, max_examples=200)
WALKS = settings(QUERIES, max_examples=25)

BEGIN = datetime(2024, 7, 3, 13, 59, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
VERSIONS = ["1.10.4", "1.11.0", "1.11.0-latest", "versionless"]
WORDS = ["nightly", "Nightly", "NIGHTLY full", "ünï", "ÜNÏ", "100%", "a_b", "axb", "*"]

# What a client writes into the address, and which of the stored things that lets through.
Parameters = list[tuple[str, str]]
Filter = tuple[Parameters, Callable[[Any], bool]]


@dataclass(frozen=True)
class StoredRun:
    """What the model knows of a run."""

    id: int
    job_definition_id: int
    project_id: int
    environment_id: int
    status: int
    dbt_version: str
    has_docs_generated: bool
    created_at: datetime
    finished_at: datetime | None
    # Runs are never deleted.
    state: int = 1


@dataclass(frozen=True)
class StoredJob:
    """What the model knows of a job."""

    id: int
    project_id: int
    environment_id: int
    name: str
    state: int
    created_at: datetime
    updated_at: datetime


def various_runs() -> list[StoredRun]:
    """Return 110 runs: few different values, so that many are alike, and ids with gaps, unordered in time."""
    runs = []
    for number in range(110):
        status = list(RunStatus)[number * 5 % 6]
        created = BEGIN + timedelta(minutes=number * 7 % 23)
        runs.append(
            StoredRun(
                # Of the last ones the ids take more than 32 bits.
                id=3 * number + 1 + (2**40 if number >= 100 else 0),
                # Of no job that is here: to delete one would end its active runs.
                job_definition_id=7 + number % 7 % 3,
                project_id=1 + number % 5 // 3,
                environment_id=1 + number % 4 // 2,
                status=status,
                dbt_version=VERSIONS[number % 11 % 4],
                has_docs_generated=number % 3 == 0,
                created_at=created + MICROSECOND * (number % 2),
                finished_at=None if status in ACTIVE_STATUSES else created + timedelta(minutes=number % 4),
            )
        )
    return runs


RUNS = various_runs()


def create_jobs(cloud: RunningCloud) -> list[StoredJob]:
    """Create jobs through the API, change some and delete some; return all that are there."""
    body = {"execute_steps": ["dbt build"]}
    jobs = {job["id"]: job for job in cloud.get("jobs/")}
    for number in range(30):
        place = {"environment_id": 1 + number % 3, "name": f"{WORDS[number % 9]} {number % 2}"}
        job = cloud.post("jobs/", body | place)
        jobs[job["id"]] = job
    for job_id in list(jobs)[::4]:
        jobs[job_id] = cloud.post(f"jobs/{job_id}/", {"id": job_id, "description": "changed"})
    for job_id in list(jobs)[::5]:
        jobs[job_id] = cloud.client.delete(f"jobs/{job_id}/").json()["data"]
    return [
        StoredJob(
            **{field: job[field] for field in ("id", "project_id", "environment_id", "name", "state")},
            created_at=datetime.fromisoformat(job["created_at"]),
            updated_at=datetime.fromisoformat(job["updated_at"]),
        )
        for job in jobs.values()
    ]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """An account of two projects, with the runs of the model."""
    directory = tmp_path_factory.mktemp("queries")
    projects = [
        {"id": i, "name": f"{i}", "directory": str(DEMO_ACCOUNT.parent / "jaffle_shop")} for i in (1, 2)
    ]
    environments = [
        {"id": i, "project_id": project, "name": f"{i}", "database": "x.duckdb", "schema": "main"}
        for i, project in ((1, 1), (2, 1), (3, 2))
    ]
    jobs = [{"id": 101, "environment_id": 1, "name": "declared", "execute_steps": ["dbt build"]}]
    account = {"id": 1, "name": "Tests"}
    file = directory / "account.yaml"
    file.write_text(
        yaml.safe_dump({"account": account, "projects": projects, "environments": environments, "jobs": jobs})
    )
    with running_cloud(directory / "data", file) as cloud:
        # To hold each of thousands of lists against its schema takes longer than all the rest.
        cloud.client.event_hooks = {"response": []}
        trigger = TriggerRequest(cause="a test").model_dump()
        with cloud.service.sessions.begin() as session:
            for run in RUNS:
                fields = {name: value for name, value in vars(run).items() if name != "state"}
                session.add(Run(**fields, trigger=trigger))
        yield cloud


@pytest.fixture(scope="module")
def jobs(cloud: RunningCloud) -> list[StoredJob]:
    """The jobs of the model."""
    return create_jobs(cloud)


def spellings(name: str, values: list[Any]) -> st.SearchStrategy[Parameters]:
    """Return the ways in which clients write a list."""
    texts = [str(value) for value in values]
    in_one = [
        json.dumps(values),
        json.dumps(values, separators=(",", ":")),
        json.dumps(texts),
        repr(values),
        repr(texts),
        ",".join(texts),
        ", ".join(texts),
        f"[{','.join(texts)}]",
    ]
    ways = [[(name, text)] for text in in_one]
    if texts:
        ways.append([(name, text) for text in texts])
        ways.append([(name, f"[{text}]") for text in texts])
        ways.append([(name, json.dumps(values[:1])), (name, json.dumps(values[1:]))])
    return st.sampled_from(ways)


def equal_to(name: str, field: str, values: list[Any]) -> st.SearchStrategy[Filter]:
    """Return filters for one value."""

    def asked(value: Any) -> Filter:
        return [(name, str(value))], lambda thing: getattr(thing, field) == value

    return st.sampled_from(values).map(asked)


def among(name: str, field: str, values: list[Any]) -> st.SearchStrategy[Filter]:
    """Return filters for any of some values, or of none."""

    def asked(chosen: list[Any]) -> st.SearchStrategy[Filter]:
        return spellings(name, chosen).map(lambda way: (way, lambda thing: getattr(thing, field) in chosen))

    return st.lists(st.sampled_from(values), max_size=5).flatmap(asked)


def above(name: str, values: list[int]) -> st.SearchStrategy[Filter]:
    """Return filters for ids above one."""
    return st.sampled_from(values).map(lambda value: ([(name, str(value))], lambda thing: thing.id > value))


def truth(name: str, field: str) -> st.SearchStrategy[Filter]:
    """Return filters for true or false."""
    words = [("true", True), ("True", True), ("1", True), ("false", False), ("False", False), ("0", False)]
    return st.sampled_from(words).map(
        lambda word: ([(name, word[0])], lambda thing: getattr(thing, field) is word[1])
    )


def between(name: str, field: str, moments: list[datetime]) -> st.SearchStrategy[Filter]:
    """Return filters for a range of time, its ends included: near what is stored."""
    near = st.sampled_from(moments).flatmap(
        lambda moment: st.sampled_from([moment - MICROSECOND, moment, moment + MICROSECOND])
    )

    def asked(ends: tuple[datetime, datetime], write: Callable[[datetime], str]) -> st.SearchStrategy[Filter]:
        def holds(thing: Any) -> bool:
            moment = getattr(thing, field)
            return moment is not None and ends[0] <= moment <= ends[1]

        return spellings(name, [write(end) for end in ends]).map(lambda way: (way, holds))

    return st.builds(asked, st.tuples(near, near), st.sampled_from(WAYS_TO_WRITE_A_MOMENT)).flatmap(
        lambda one: one
    )


WAYS_TO_WRITE_A_MOMENT: list[Callable[[datetime], str]] = [
    lambda moment: moment.isoformat(),
    lambda moment: moment.isoformat(sep=" "),
    lambda moment: moment.isoformat().replace("+00:00", "Z"),
    # Without a zone it is UTC.
    lambda moment: moment.replace(tzinfo=None).isoformat(),
    lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
]

STATES = {"active": [1], "1": [1], "deleted": [2], "2": [2], "all": [1, 2]}


def in_state(word: str) -> Filter:
    """Return the filter for a state."""
    return [("state", word)], lambda thing: thing.state in STATES[word]


def any_of_them(
    optional: dict[str, st.SearchStrategy[Filter]], state_unasked: str
) -> st.SearchStrategy[Filter]:
    """Return combinations of filters, all of which must hold."""

    def combined(chosen: dict[str, Filter]) -> Filter:
        parameters = [pair for way, _ in chosen.values() for pair in way]
        all_that_hold = [holds for _, holds in chosen.values()]
        if "state" not in chosen:
            all_that_hold.append(in_state(state_unasked)[1])
        return parameters, lambda thing: all(holds(thing) for holds in all_that_hold)

    return st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: optional[name] for name in names}).map(combined)
    )


def ids_near(ids: list[int]) -> list[int]:
    """Return ids that are there, ids that are not, and the outermost."""
    return sorted({*ids, *(i + 1 for i in ids), 0, -1, MAX_ID, -MAX_ID})


RUN_IDS = ids_near([run.id for run in RUNS])
RUN_FILTERS = any_of_them(
    {
        "status": equal_to("status", "status", [1, 2, 3, 10, 20, 30, 99]),
        "status__in": among("status__in", "status", [1, 2, 3, 10, 20, 30, 99]),
        "job_definition_id": equal_to("job_definition_id", "job_definition_id", [7, 8, 9, 101]),
        "project_id": equal_to("project_id", "project_id", [1, 2, 3]),
        "project_id__in": among("project_id__in", "project_id", [1, 2, 3]),
        "environment_id": equal_to("environment_id", "environment_id", [1, 2, 3]),
        "pk": equal_to("pk", "id", RUN_IDS),
        "pk__in": among("pk__in", "id", RUN_IDS),
        "id__gt": above("id__gt", RUN_IDS),
        "created_at__range": between("created_at__range", "created_at", [run.created_at for run in RUNS]),
        "finished_at__range": between(
            "finished_at__range", "finished_at", [run.finished_at for run in RUNS if run.finished_at]
        ),
        "has_docs_generated": truth("has_docs_generated", "has_docs_generated"),
        "dbt_version": equal_to("dbt_version", "dbt_version", [*VERSIONS, "1.11", "1.11.%"]),
        "dbt_version__in": among("dbt_version__in", "dbt_version", [*VERSIONS, "1.11", "1.11.%"]),
        "state": st.sampled_from(list(STATES)).map(in_state),
    },
    state_unasked="all",
)
# The jobs get their ids when they are created, one after another.
JOB_IDS = ids_near(list(range(101, 133)))
JOB_FILTERS = any_of_them(
    {
        "project_id": equal_to("project_id", "project_id", [1, 2, 3]),
        "environment_id": equal_to("environment_id", "environment_id", [1, 2, 3, 4]),
        "name__icontains": st.sampled_from([*WORDS, "", "T", "y f", "%", "_", "nothing"]).map(
            lambda text: ([("name__icontains", text)], lambda job: text.lower() in job.name.lower())
        ),
        "pk": equal_to("pk", "id", JOB_IDS),
        "state": st.sampled_from(list(STATES)).map(in_state),
    },
    state_unasked="active",
)

RUN_ORDERS = st.sampled_from([None, "id", "created_at", "finished_at"])
JOB_ORDERS = st.sampled_from([None, "id", "name", "created_at", "updated_at"])
LIMITS = st.none() | st.integers(1, 100)
OFFSETS = st.none() | st.integers(0, 120) | st.just(MAX_ID)


def ordered(things: list[Any], field: str | None, backwards: bool) -> list[int]:
    """Return the ids in order; ids decide between equals, and what has not finished comes first."""

    def key(thing: Any) -> tuple[Any, ...]:
        value = getattr(thing, field or "id")
        return (0, thing.id) if value is None else (1, value, thing.id)

    in_order = [thing.id for thing in sorted(things, key=key)]
    return in_order[::-1] if backwards else in_order


def order_parameters(field: str | None, backwards: bool) -> Parameters:
    """Return what asks for an order; forwards by id need not be asked for."""
    if backwards:
        return [("order_by", f"-{field or 'id'}")]
    return [("order_by", field)] if field else []


def check_list(
    cloud: RunningCloud,
    path: str,
    things: list[Any],
    chosen: Filter,
    order: str | None,
    backwards: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    """Ask for a list, and hold the answer against the model."""
    parameters, holds = chosen
    asked = [*parameters, *order_parameters(order, backwards)]
    asked += [
        (name, str(value)) for name, value in (("limit", limit), ("offset", offset)) if value is not None
    ]
    response = cloud.client.get(path, params=asked)
    assert response.status_code == 200, response.text
    answer = response.json()

    start, size = offset or 0, 100 if limit is None else limit
    found = ordered([thing for thing in things if holds(thing)], order, backwards)
    assert [one["id"] for one in answer["data"]] == found[start : start + size]
    extra = answer["extra"]
    assert extra["pagination"] == {"count": len(answer["data"]), "total_count": len(found)}
    assert (extra["filters"]["limit"], extra["filters"]["offset"]) == (size, start)
    assert extra["order_by"] == f"{'-' if backwards else ''}{order or 'id'}"


def walk(cloud: RunningCloud, path: str, parameters: Parameters, size: int) -> list[int]:
    """Read page after page until as many as there are have come."""
    ids: list[int] = []
    while True:
        page = [("limit", str(size)), ("offset", str(len(ids)))]
        answer = cloud.client.get(path, params=[*parameters, *page]).json()
        ids += [one["id"] for one in answer["data"]]
        if len(ids) >= answer["extra"]["pagination"]["total_count"] or not answer["data"]:
            return ids


@pytest.mark.end_to_end
@given(RUN_FILTERS, RUN_ORDERS, st.booleans(), LIMITS, OFFSETS)
@QUERIES
def test_list_of_runs_matches_the_model(
    cloud: RunningCloud,
    chosen: Filter,
    order: str | None,
    backwards: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    check_list(cloud, "runs/", RUNS, chosen, order, backwards, limit, offset)


@pytest.mark.end_to_end
@given(JOB_FILTERS, JOB_ORDERS, st.booleans(), LIMITS, OFFSETS)
@QUERIES
def test_list_of_jobs_matches_the_model(
    cloud: RunningCloud,
    jobs: list[StoredJob],
    chosen: Filter,
    order: str | None,
    backwards: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    check_list(cloud, "jobs/", jobs, chosen, order, backwards, limit, offset)


@pytest.mark.end_to_end
@given(RUN_FILTERS, RUN_ORDERS, st.booleans(), st.integers(5, 100))
@WALKS
def test_pages_of_runs_contain_each_run_once_in_order(
    cloud: RunningCloud, chosen: Filter, order: str | None, backwards: bool, size: int
) -> None:
    parameters, holds = chosen
    expected = ordered([run for run in RUNS if holds(run)], order, backwards)
    assert walk(cloud, "runs/", [*parameters, *order_parameters(order, backwards)], size) == expected


@pytest.mark.end_to_end
@pytest.mark.parametrize("order", ["id", "created_at", "finished_at"])
def test_pages_of_one_run_cover_all_runs_in_both_directions(cloud: RunningCloud, order: str) -> None:
    forwards = walk(cloud, "runs/", [("order_by", order)], size=1)
    assert sorted(forwards) == sorted(run.id for run in RUNS)
    assert walk(cloud, "runs/", [("order_by", f"-{order}")], size=1) == forwards[::-1]


@pytest.mark.end_to_end
@given(JOB_FILTERS, JOB_ORDERS, st.booleans(), st.integers(1, 100))
@WALKS
def test_pages_of_jobs_contain_each_job_once_in_order(
    cloud: RunningCloud,
    jobs: list[StoredJob],
    chosen: Filter,
    order: str | None,
    backwards: bool,
    size: int,
) -> None:
    parameters, holds = chosen
    expected = ordered([job for job in jobs if holds(job)], order, backwards)
    assert walk(cloud, "jobs/", [*parameters, *order_parameters(order, backwards)], size) == expected


def test_model_data_distinguishes_the_filters(jobs: list[StoredJob]) -> None:
    # A model in which all is alike would agree with any answer.
    assert len({run.created_at for run in RUNS}) < len(RUNS)
    for field in ("status", "job_definition_id", "project_id", "environment_id", "dbt_version"):
        assert len({getattr(run, field) for run in RUNS}) > 1, field
    assert {run.finished_at is None for run in RUNS} == {True, False}
    assert {job.state for job in jobs} == {1, 2}
    assert {job.project_id for job in jobs} == {1, 2}
    assert len({job.name for job in jobs}) < len(jobs)
