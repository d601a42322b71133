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
PAGINATION = settings(QUERIES, max_examples=25)

BEGIN = datetime(2024, 7, 3, 13, 59, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
VERSIONS = ["1.10.4", "1.11.0", "1.11.0-latest", "versionless"]
WORDS = ["nightly", "Nightly", "NIGHTLY full", "ünï", "ÜNÏ", "100%", "a_b", "axb", "*"]

# Query parameters, and the condition on stored objects that they mean.
Parameters = list[tuple[str, str]]
Filter = tuple[Parameters, Callable[[Any], bool]]


@dataclass(frozen=True)
class StoredRun:
    """A run in the model."""

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
    """A job in the model."""

    id: int
    project_id: int
    environment_id: int
    name: str
    state: int
    created_at: datetime
    updated_at: datetime


def various_runs() -> list[StoredRun]:
    """Return 110 runs with many equal values, gaps between IDs, and creation times in another order."""
    runs = []
    for number in range(110):
        status = list(RunStatus)[number * 5 % 6]
        created = BEGIN + timedelta(minutes=number * 7 % 23)
        runs.append(
            StoredRun(
                # The last IDs exceed 32 bits.
                id=3 * number + 1 + (2**40 if number >= 100 else 0),
                # Not an existing job, because deleting it would cancel its active runs.
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
    """Create jobs through the API, update some and delete some; return all of them."""
    body = {"execute_steps": ["dbt build"]}
    jobs = {job["id"]: job for job in cloud.get("jobs/")}
    for number in range(30):
        fields = {"environment_id": 1 + number % 3, "name": f"{WORDS[number % 9]} {number % 2}"}
        job = cloud.post("jobs/", body | fields)
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
    """A local dbt Cloud with two projects and the runs of the model."""
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
        # Validating thousands of lists against the OpenAPI schema would dominate the run time.
        cloud.client.event_hooks = {"response": []}
        trigger = TriggerRequest(cause="a test").model_dump()
        with cloud.service.sessions.begin() as session:
            for run in RUNS:
                fields = {name: value for name, value in vars(run).items() if name != "state"}
                session.add(Run(**fields, trigger=trigger))
        yield cloud


@pytest.fixture(scope="module")
def jobs(cloud: RunningCloud) -> list[StoredJob]:
    """Jobs of the model."""
    return create_jobs(cloud)


def spellings(name: str, values: list[Any]) -> st.SearchStrategy[Parameters]:
    """Return all spellings of a list that clients use."""
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
    """Return filters for a value."""

    def asked(value: Any) -> Filter:
        return [(name, str(value))], lambda item: getattr(item, field) == value

    return st.sampled_from(values).map(asked)


def among(name: str, field: str, values: list[Any]) -> st.SearchStrategy[Filter]:
    """Return filters for a list of values, which may be empty."""

    def asked(chosen: list[Any]) -> st.SearchStrategy[Filter]:
        return spellings(name, chosen).map(lambda way: (way, lambda item: getattr(item, field) in chosen))

    return st.lists(st.sampled_from(values), max_size=5).flatmap(asked)


def above(name: str, values: list[int]) -> st.SearchStrategy[Filter]:
    """Return filters for IDs greater than a value."""
    return st.sampled_from(values).map(lambda value: ([(name, str(value))], lambda item: item.id > value))


def truth(name: str, field: str) -> st.SearchStrategy[Filter]:
    """Return filters for a boolean."""
    words = [("true", True), ("True", True), ("1", True), ("false", False), ("False", False), ("0", False)]
    return st.sampled_from(words).map(
        lambda word: ([(name, word[0])], lambda item: getattr(item, field) is word[1])
    )


def between(name: str, field: str, times: list[datetime]) -> st.SearchStrategy[Filter]:
    """Return filters for inclusive time ranges whose ends are close to stored times."""
    near = st.sampled_from(times).flatmap(
        lambda time: st.sampled_from([time - MICROSECOND, time, time + MICROSECOND])
    )

    def asked(ends: tuple[datetime, datetime], write: Callable[[datetime], str]) -> st.SearchStrategy[Filter]:
        def holds(item: Any) -> bool:
            time = getattr(item, field)
            return time is not None and ends[0] <= time <= ends[1]

        return spellings(name, [write(end) for end in ends]).map(lambda way: (way, holds))

    return st.builds(asked, st.tuples(near, near), st.sampled_from(TIME_FORMATS)).flatmap(lambda one: one)


TIME_FORMATS: list[Callable[[datetime], str]] = [
    lambda time: time.isoformat(),
    lambda time: time.isoformat(sep=" "),
    lambda time: time.isoformat().replace("+00:00", "Z"),
    # Without a time zone, it means UTC.
    lambda time: time.replace(tzinfo=None).isoformat(),
    lambda time: time.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
]

STATES = {"active": [1], "1": [1], "deleted": [2], "2": [2], "all": [1, 2]}


def in_state(word: str) -> Filter:
    """Return the filter for a state name."""
    return [("state", word)], lambda item: item.state in STATES[word]


def combinations(
    optional: dict[str, st.SearchStrategy[Filter]], default_state: str
) -> st.SearchStrategy[Filter]:
    """Return conjunctions of filters."""

    def combined(chosen: dict[str, Filter]) -> Filter:
        parameters = [pair for way, _ in chosen.values() for pair in way]
        conditions = [holds for _, holds in chosen.values()]
        if "state" not in chosen:
            conditions.append(in_state(default_state)[1])
        return parameters, lambda item: all(holds(item) for holds in conditions)

    return st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: optional[name] for name in names}).map(combined)
    )


def ids_near(ids: list[int]) -> list[int]:
    """Return existing IDs, missing IDs and the extreme values."""
    return sorted({*ids, *(i + 1 for i in ids), 0, -1, MAX_ID, -MAX_ID})


RUN_IDS = ids_near([run.id for run in RUNS])
RUN_FILTERS = combinations(
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
    default_state="all",
)
# Jobs get consecutive IDs.
JOB_IDS = ids_near(list(range(101, 133)))
JOB_FILTERS = combinations(
    {
        "project_id": equal_to("project_id", "project_id", [1, 2, 3]),
        "environment_id": equal_to("environment_id", "environment_id", [1, 2, 3, 4]),
        "name__icontains": st.sampled_from([*WORDS, "", "T", "y f", "%", "_", "nothing"]).map(
            lambda text: ([("name__icontains", text)], lambda job: text.lower() in job.name.lower())
        ),
        "pk": equal_to("pk", "id", JOB_IDS),
        "state": st.sampled_from(list(STATES)).map(in_state),
    },
    default_state="active",
)

RUN_ORDERS = st.sampled_from([None, "id", "created_at", "finished_at"])
JOB_ORDERS = st.sampled_from([None, "id", "name", "created_at", "updated_at"])
LIMITS = st.none() | st.integers(1, 100)
OFFSETS = st.none() | st.integers(0, 120) | st.just(MAX_ID)


def ordered(objects: list[Any], field: str | None, descending: bool) -> list[int]:
    """Return sorted IDs; None sorts first, and the ID decides between equal values."""

    def key(item: Any) -> tuple[Any, ...]:
        value = getattr(item, field or "id")
        return (0, item.id) if value is None else (1, value, item.id)

    in_order = [item.id for item in sorted(objects, key=key)]
    return in_order[::-1] if descending else in_order


def order_parameters(field: str | None, descending: bool) -> Parameters:
    """Return the query parameters for an order; ascending by ID is the default."""
    if descending:
        return [("order_by", f"-{field or 'id'}")]
    return [("order_by", field)] if field else []


def check_list(
    cloud: RunningCloud,
    path: str,
    objects: list[Any],
    chosen: Filter,
    order: str | None,
    descending: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    """Request a list and compare the response with the model."""
    parameters, holds = chosen
    asked = [*parameters, *order_parameters(order, descending)]
    asked += [
        (name, str(value)) for name, value in (("limit", limit), ("offset", offset)) if value is not None
    ]
    response = cloud.client.get(path, params=tuple(asked))
    assert response.status_code == 200, response.text
    answer = response.json()

    start, size = offset or 0, 100 if limit is None else limit
    found = ordered([item for item in objects if holds(item)], order, descending)
    assert [one["id"] for one in answer["data"]] == found[start : start + size]
    extra = answer["extra"]
    assert extra["pagination"] == {"count": len(answer["data"]), "total_count": len(found)}
    assert (extra["filters"]["limit"], extra["filters"]["offset"]) == (size, start)
    assert extra["order_by"] == f"{'-' if descending else ''}{order or 'id'}"


def read_all_pages(cloud: RunningCloud, path: str, parameters: Parameters, size: int) -> list[int]:
    """Read all pages and return the IDs."""
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
    descending: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    check_list(cloud, "runs/", RUNS, chosen, order, descending, limit, offset)


@pytest.mark.end_to_end
@given(JOB_FILTERS, JOB_ORDERS, st.booleans(), LIMITS, OFFSETS)
@QUERIES
def test_list_of_jobs_matches_the_model(
    cloud: RunningCloud,
    jobs: list[StoredJob],
    chosen: Filter,
    order: str | None,
    descending: bool,
    limit: int | None,
    offset: int | None,
) -> None:
    check_list(cloud, "jobs/", jobs, chosen, order, descending, limit, offset)


@pytest.mark.end_to_end
@given(RUN_FILTERS, RUN_ORDERS, st.booleans(), st.integers(5, 100))
@PAGINATION
def test_pages_of_runs_contain_each_run_once_in_order(
    cloud: RunningCloud, chosen: Filter, order: str | None, descending: bool, size: int
) -> None:
    parameters, holds = chosen
    expected = ordered([run for run in RUNS if holds(run)], order, descending)
    assert (
        read_all_pages(cloud, "runs/", [*parameters, *order_parameters(order, descending)], size) == expected
    )


@pytest.mark.end_to_end
@pytest.mark.parametrize("order", ["id", "created_at", "finished_at"])
def test_pages_of_one_run_cover_all_runs_in_both_directions(cloud: RunningCloud, order: str) -> None:
    forwards = read_all_pages(cloud, "runs/", [("order_by", order)], size=1)
    assert sorted(forwards) == sorted(run.id for run in RUNS)
    assert read_all_pages(cloud, "runs/", [("order_by", f"-{order}")], size=1) == forwards[::-1]


@pytest.mark.end_to_end
@given(JOB_FILTERS, JOB_ORDERS, st.booleans(), st.integers(1, 100))
@PAGINATION
def test_pages_of_jobs_contain_each_job_once_in_order(
    cloud: RunningCloud,
    jobs: list[StoredJob],
    chosen: Filter,
    order: str | None,
    descending: bool,
    size: int,
) -> None:
    parameters, holds = chosen
    expected = ordered([job for job in jobs if holds(job)], order, descending)
    assert (
        read_all_pages(cloud, "jobs/", [*parameters, *order_parameters(order, descending)], size) == expected
    )


def test_model_data_distinguishes_the_filters(jobs: list[StoredJob]) -> None:
    # If all values were equal, any response would match the model.
    assert len({run.created_at for run in RUNS}) < len(RUNS)
    for field in ("status", "job_definition_id", "project_id", "environment_id", "dbt_version"):
        assert len({getattr(run, field) for run in RUNS}) > 1, field
    assert {run.finished_at is None for run in RUNS} == {True, False}
    assert {job.state for job in jobs} == {1, 2}
    assert {job.project_id for job in jobs} == {1, 2}
    assert len({job.name for job in jobs}) < len(jobs)
