"""Invalid requests to all endpoints: each gets a well-formed response, and none corrupts the database."""

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from inspect import isclass
from typing import Any, get_args
from urllib.parse import quote, urlencode

import httpx
import pytest
import yaml
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import delete, insert, select, update

from local_dbt_cloud.api import create_api
from local_dbt_cloud.api.middleware import MAX_BODY_BYTES, MAX_CONTROL_BODY_BYTES
from local_dbt_cloud.cli import DEMO_ACCOUNT
from local_dbt_cloud.database import Base, ExtendedAttributes, Run, utc_now
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.provisioning import (
    ConnectionDefinition,
    CredentialsDefinition,
    EnvironmentDefinition,
    ExtendedAttributesDefinition,
    ProjectDefinition,
    RepositoryDefinition,
)
from local_dbt_cloud.run_status import ACTIVE_STATUSES, RunStatus
from local_dbt_cloud.service import Service
from local_dbt_cloud.web import create_pages
from routes import endpoints
from running_cloud import TOKEN, RunningCloud, running_cloud

# Deterministic examples, so that a failure in CI can be reproduced.
FUZZ = settings(derandomize=True, deadline=None)

pytestmark = pytest.mark.end_to_end

GOOD_TOKEN = f"Token {TOKEN}"
# Query parameters to send to all endpoints.
COMMON_PARAMETERS = ("include_related", "unknown")
READ_METHODS = ("GET", "HEAD", "OPTIONS", "PUT")
ALL_RELATED = (
    "trigger,job,environment,repository,run_steps,debug_logs,account,project,"
    "custom_environment_variables,most_recent_run,most_recent_completed_run"
)


# What clients provision, by the last segment of its address.
PROVISIONED: dict[str, type[BaseModel]] = {
    "connections": ConnectionDefinition,
    "credentials": CredentialsDefinition,
    "environments": EnvironmentDefinition,
    "extended-attributes": ExtendedAttributesDefinition,
    "projects": ProjectDefinition,
    "repositories": RepositoryDefinition,
}


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of the API or of the pages; ``body`` is the list of paths to all fields of its body."""

    is_api: bool
    method: str
    path: str
    parameters: tuple[str, ...]
    query: tuple[str, ...]
    body: tuple[tuple[str, ...], ...] | None

    @property
    def is_raw(self) -> bool:
        """Whether successful responses are neither envelope nor page: files, data of a page, the root."""
        return self.path.endswith(("{path:path}", ".json")) or (self.is_api and self.path == "/")

    def target(self, values: list[str]) -> str:
        """Return the path with values, already encoded, for its parameters."""
        path = self.path
        for parameter, value in zip(self.parameters, values, strict=True):
            path = path.replace(parameter, value)
        return path


def all_endpoints(service: Service) -> list[Endpoint]:
    """Return all endpoints of the API and of the pages."""
    found = []
    for is_api, create in ((True, create_api), (False, create_pages)):
        app: FastAPI = create(service)
        for method, path, route in endpoints(app.routes):
            query = tuple(sorted({*_query_names(route.dependant), *COMMON_PARAMETERS}))
            parameters = tuple(_in_braces(path))
            found.append(Endpoint(is_api, method, path, parameters, query, _body_fields(route)))
    return found


def _in_braces(path: str) -> list[str]:
    return [part.split("}")[0].join("{}") for part in path.split("{")[1:]]


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        model = _model(field.field_info.annotation)
        yield from model.model_fields if model else [field.alias]
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _body_fields(route: APIRoute) -> tuple[tuple[str, ...], ...] | None:
    if route.body_field is None:
        return None
    # Some endpoints declare their body as any object, because an update may omit fields.
    model = _model(route.body_field.field_info.annotation) or PROVISIONED.get(
        _kind(route.path), JobDefinition
    )
    return tuple(_field_paths(model))


def _kind(path: str) -> str:
    """Return the last segment of a path that is not a parameter: ``jobs`` or ``environments``."""
    return [part for part in path.split("/") if part and "{" not in part][-1]


def _model(annotation: Any) -> type[BaseModel] | None:
    return annotation if isclass(annotation) and issubclass(annotation, BaseModel) else None


def _field_paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (name,)
        for inner in (field.annotation, *get_args(field.annotation)):
            if inner_model := _model(inner):
                yield from ((name, *path) for path in _field_paths(inner_model))


# Not a dataclass, because Hypothesis would print all its contents on failure.
class Target:
    """A local dbt Cloud that receives invalid requests, and its initial database contents."""

    def __init__(self, cloud: RunningCloud, client: httpx.Client) -> None:
        self.cloud = cloud
        self.client = client
        self.endpoints = all_endpoints(cloud.service)
        self.stored = contents(cloud)

    def send(self, endpoint: Endpoint, path: str, method: str | None = None, **more: Any) -> httpx.Response:
        """Send a request without normalizing its path and query."""
        url = self.cloud.url if endpoint.is_api else self.cloud.service.pages_url
        return self.client.request(
            method or endpoint.method, url, extensions={"target": path.encode("ascii")}, **more
        )

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        """Return all rows of all tables."""
        return contents(self.cloud)

    def restore(self) -> None:
        """Restore the initial database contents."""
        with self.cloud.service.sessions.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
            for table in Base.metadata.sorted_tables:
                if rows := self.stored[table.name]:
                    session.execute(insert(table), rows)
        write_artifact(self.cloud)

    def check_readable(self) -> None:
        """Read lists and pages, first as they are, then with all active runs failed."""
        self.cloud.service.faults.clear()
        self._read()
        failed = {"status": RunStatus.ERROR, "started_at": utc_now(), "finished_at": utc_now()}
        with self.cloud.service.sessions.begin() as session:
            session.execute(update(Run).where(Run.status.in_(ACTIVE_STATUSES)).values(failed))
        self._read()

    def _read(self) -> None:
        for path in ("v2/accounts/1/jobs", "v2/accounts/1/runs"):
            query = f"?state=all&include_related={ALL_RELATED}"
            answer = self.client.get(
                f"{self.cloud.url}/api/{path}/{query}", headers={"Authorization": GOOD_TOKEN}
            )
            assert answer.status_code == 200, (path, answer.text)
        run_ids = [run["id"] for run in answer.json()["data"]]
        # A reset deletes all runs.
        newest = [f"/deploy/1/projects/1/runs/{max(run_ids)}/"] if run_ids else []
        for path in ("/", "/deploy/1/runs/", *newest):
            answer = self.client.get(self.cloud.service.pages_url + path)
            assert answer.status_code == 200, path


def contents(cloud: RunningCloud) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables."""
    with cloud.service.sessions() as session:
        return {
            table.name: [dict(row) for row in session.execute(select(table).order_by(table.c.id)).mappings()]
            for table in Base.metadata.sorted_tables
        }


def fill(cloud: RunningCloud) -> None:
    """Store a run of each job, a step, an artifact and a variable, so that paths with IDs 1 to 4 exist."""
    now = utc_now()
    times = {"started_at": now, "finished_at": now}
    # No running run, because the scheduler would end it as orphaned.
    cloud.add_run(RunStatus.ERROR, 1, dbt_steps=[["dbt deps"], ["dbt build"], ["dbt test"]], **times)
    cloud.add_run(RunStatus.SUCCESS, 2, **times)
    cloud.add_run(RunStatus.QUEUED, 3)
    cloud.add_run(RunStatus.CANCELLED, 4, **times)
    cloud.add_step(1, 4, name="Invoke dbt with `dbt build`")
    write_artifact(cloud)
    project = f"{cloud.url}/api/v3/accounts/1/projects/1"
    for owner in ({"type": "job", "job_definition_id": 1}, {"type": "project"}):
        cloud.post(f"{project}/environment-variables/", {"name": "DBT_A", "raw_value": "x"} | owner)
    attributes = {"extended_attributes": {"threads": 1}, "project_id": 1}
    with cloud.service.sessions.begin() as session:
        session.add(ExtendedAttributes(id=1, definition=attributes))


def write_artifact(cloud: RunningCloud) -> None:
    """Write the artifact of the first run's step."""
    artifacts = cloud.service.data.artifacts(1, 4)
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "run_results.json").write_text("{}")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A local dbt Cloud with four jobs that starts no runs."""
    directory = tmp_path_factory.mktemp("fuzz")
    common = {"project_id": 1, "database": "x.duckdb", "schema": "main"}
    account = {
        "account": {"id": 1, "name": "Tests"},
        "projects": [{"id": 1, "name": "Jaffle Shop", "directory": str(DEMO_ACCOUNT.parent / "jaffle_shop")}],
        "environments": [{"id": i, "name": f"{i}", **common} for i in (1, 2)],
        "jobs": [
            {"id": i, "environment_id": 1, "name": f"{i}", "execute_steps": ["dbt build"]}
            for i in range(1, 5)
        ],
    }
    file = directory / "account.yaml"
    file.write_text(yaml.safe_dump(account))
    with running_cloud(directory / "data", file) as cloud:
        cloud.service.config.account.run_slots = 0
        fill(cloud)
        verify = ssl.create_default_context(cafile=str(cloud.service.data.ca_bundle))
        # The server closes the connection after responses such as 413, so never reuse one.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(verify=verify, trust_env=False, timeout=10, limits=limits) as client:
            yield Target(cloud, client)


HUGE = "9" * 5000
TEXTS = [
    "", " ", "\x00", "a\x00b", "ü", "\u202e", "\U00011f50", "٣", "null", "NaN", "x" * 256, HUGE, f"{HUGE}.1",
    "..", "../..", "../../state.sqlite", "a/b", "a%2Fb", "%2e%2e", "%", "%00", "*", "(",
    "a{99999999999999999999}", "(" * 500, "'", '"', "[", "]", "{}", "dbt build", "dbt build \x00",
    "dbt", "dbt run --vars '", "rm -rf /",
    "DBT_", "DBT_A", "1.11", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "<script>",
]  # fmt: skip
NUMBERS = [0, -1, 1, 2, 200, 204, 304, 500, 599, 600, 2**31, 2**63 - 1, 2**63, -(2**63), 2**70, 10**400]
SURROGATES = ["\ud800", "a\udfffb", "\udc00\ud800"]

texts = st.sampled_from(TEXTS) | st.text(max_size=10)
numbers = st.sampled_from(NUMBERS) | st.integers()

leaves = st.one_of(
    st.none() | st.booleans(),
    numbers,
    st.floats(),
    st.sampled_from(SURROGATES),
    texts,
    st.text(st.characters(exclude_categories=[]), max_size=5),
)
wild_json = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

# A valid value per field. Fields that are missing here only get invalid values.
VALID_VALUES: dict[str, Any] = {
    "account_id": 1, "adapter_version": "postgres_v0", "cause": "a test", "config": {"hostname": "x"},
    "cost_optimization_features": [], "description": "text", "env_var": {"new_name": "DBT_C", "project": "x"},
    "env_vars": {"name": "DBT_A", "project": "x"}, "environment_id": 1, "execute_steps": ["dbt build"],
    "execution": {"timeout_seconds": 1}, "extended_attributes": {"threads": 1}, "id": 1,
    "job_definition_id": 1, "job_id": 1, "method": "PATCH", "name": "DBT_B", "path": "nowhere",
    "paused": True, "project_id": 1, "raw_value": "x", "remote_url": "git://example.com/x.git",
    "settings": {"threads": 1}, "status": 503, "steps_override": ["dbt run"], "times": 1, "type": "job",
}  # fmt: skip


def valid_body(endpoint: Endpoint) -> dict[str, Any]:
    """Return a body that an endpoint accepts."""
    names = {path[0] for path in endpoint.body or ()}
    # Fields of a request that are not part of the definition: an update of a job must contain its ID.
    if "execute_steps" in names:
        names.add("id")
    if _kind(endpoint.path) in PROVISIONED:
        names.add("project_id")
    return {name: value for name, value in (VALID_VALUES | _special(endpoint)).items() if name in names}


def _special(endpoint: Endpoint) -> dict[str, Any]:
    """Return the valid values of fields that mean something else at this endpoint."""
    if endpoint.path.startswith("/local/runs"):
        # The status of a run, while the status of a fault is an HTTP status.
        return {"status": RunStatus.ERROR}
    if endpoint.method == "DELETE":
        return {"name": "DBT_A"}
    kind = _kind(endpoint.path)
    types = {"projects": 0, "environments": "deployment", "credentials": "postgres"}
    return {"type": types[kind]} if kind in types else {}


def put(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a body with another value in a field."""
    name, *rest = path
    inner = body.get(name)
    return body | {name: put(inner if isinstance(inner, dict) else {}, tuple(rest), value) if rest else value}


def invalid_bodies(endpoint: Endpoint) -> st.SearchStrategy[Any]:
    """Return valid bodies, of which some fields are replaced by invalid values or omitted."""
    good = valid_body(endpoint)
    bad = st.tuples(st.sampled_from(endpoint.body or ()), leaves | st.lists(leaves, max_size=2) | wild_json)
    missing = st.just("") | st.sampled_from(sorted(good) or [""])

    def made(bad: list[tuple[tuple[str, ...], Any]], missing: str) -> dict[str, Any]:
        body = reduce(lambda body, one: put(body, *one), bad, good)
        return {name: value for name, value in body.items() if name != missing}

    return st.builds(made, st.lists(bad, max_size=2), missing)


BYTES = [
    b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff\xfe", b'{"cause": "\xff"}', b"[" * 100_000,
    b'{"a":' * 10_000, b'{"cause": "x", "azure_pull_request_id": %s}' % HUGE.encode(),
    json.dumps(VALID_VALUES).encode("utf-16"), json.dumps(VALID_VALUES).encode("utf-32"), b"a=b&c=d",
    b" " * (MAX_BODY_BYTES + 1),
]  # fmt: skip
CONTENT_TYPES = [
    "application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data", "",
    "application/x-www-form-urlencoded", "application/x", "/", "\xff",
]  # fmt: skip
AUTHORIZATIONS = [
    "", "Token", "Bearer", f"token {TOKEN}", f"Token  {TOKEN}", f"Token {TOKEN}\xff", TOKEN, "\xff",
    "Basic Og==", f"Token {TOKEN}," * 100,
]  # fmt: skip
# The scheme is case-insensitive, and spaces around the token are ignored.
ACCEPTED_AUTHORIZATIONS = {GOOD_TOKEN, f"token {TOKEN}", f"Token  {TOKEN}"}
ORIGINS = ["", "null", "http://[", "http://evil.example", "http://localhost:x", "\xff", "::"]


def encoded(value: str | bytes, safe: str) -> str:
    """Return an encoded part of a path."""
    return quote(value, safe=safe)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return valid values in three of four cases, so that most requests are invalid in one part only."""
    return st.integers(0, 3).flatmap(lambda number: good if number else bad)


path_values = mostly(
    st.sampled_from(["1", "2", "3", "4"]),
    st.builds(
        encoded,
        texts | numbers.map(str) | st.binary(max_size=5) | st.just("run_results.json"),
        st.sampled_from(["", "/"]),
    ),
)
query_values = st.one_of(
    texts,
    numbers.map(str),
    st.sampled_from(["[1,2]", "[]", "[[1]]", "1,x", "true", "active", "id", "-id", "1e400", "," * 3000]),
    st.lists(st.sampled_from(TEXTS), min_size=2, max_size=2).map(",".join),
)


@st.composite
def requests_to(draw: Callable[..., Any], endpoint: Endpoint) -> dict[str, Any]:
    """Return the arguments of ``Target.send`` for a request to an endpoint."""
    path = endpoint.target([draw(path_values) for _ in endpoint.parameters])
    query = draw(st.lists(st.tuples(st.sampled_from(endpoint.query), query_values), max_size=3))
    headers: dict[str, bytes] = {}
    authorization = draw(mostly(st.just(GOOD_TOKEN), st.sampled_from(AUTHORIZATIONS)))
    if endpoint.is_api:
        headers["Authorization"] = authorization.encode("latin-1")
    elif draw(st.integers(0, 3)) == 0:
        headers["Origin"] = draw(st.sampled_from(ORIGINS)).encode("latin-1")
    if endpoint.body is None:
        content = draw(mostly(st.just(b""), st.sampled_from(BYTES)))
    else:
        body = mostly(invalid_bodies(endpoint), wild_json).map(lambda body: json.dumps(body).encode())
        content = draw(mostly(body, st.sampled_from(BYTES) | st.binary(max_size=20)))
    if content:
        content_type = draw(mostly(st.just("application/json"), st.sampled_from(CONTENT_TYPES)))
        headers["Content-Type"] = content_type.encode("latin-1")
    # A trailing slash must not matter.
    end = draw(st.sampled_from(["", "/"])) if endpoint.is_api else ""
    return {
        "path": path + end + ("?" + urlencode(query) if query else ""),
        "method": draw(mostly(st.just(endpoint.method), st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS"]))),
        "headers": headers,
        "content": content,
    }


def summary(response: httpx.Response) -> str:
    """Return a summary of request and response for error messages."""
    request = response.request
    asked = request.extensions["target"].decode()
    return (
        f"{request.method} {asked:.300} {request.read()[:300]!r} {response.status_code} {response.text:.300}"
    )


def check_format(endpoint: Endpoint, response: httpx.Response) -> None:
    """Check that a response is an envelope or a page."""
    assert response.status_code < 500, summary(response)
    # Responses to HEAD have no body.
    if response.request.method == "HEAD" or (endpoint.is_raw and response.status_code == 200):
        return
    if endpoint.is_api:
        answer = response.json()
        assert answer.keys() >= {"status", "data"}, summary(response)
        said = answer["status"]["code"], answer["status"]["is_success"]
        assert said == (response.status_code, response.status_code < 400), summary(response)
    elif not response.is_redirect:
        assert response.headers["Content-Type"].startswith("text/html"), summary(response)


def check_request(target: Target, endpoint: Endpoint, request: dict[str, Any]) -> None:
    """Send a request, and check that it is answered in the right format and does not corrupt the database."""
    try:
        response = target.send(endpoint, **request)
        check_format(endpoint, response)
        if (
            endpoint.is_api
            and endpoint.path != "/"
            and request["headers"]["Authorization"].decode("latin-1") not in ACCEPTED_AUTHORIZATIONS
        ):
            assert response.status_code >= 400, summary(response)
        faults = target.cloud.service.faults.all()
        changed = target.contents() != target.stored
        if response.status_code >= 400 or request["method"] in READ_METHODS:
            assert (changed, faults) == (False, []), summary(response)
        if changed:
            target.check_readable()
    finally:
        target.cloud.service.faults.clear()
        target.cloud.service.scheduler.paused = False
        if target.contents() != target.stored:
            target.restore()


@given(st.data())
@settings(FUZZ, max_examples=200)
def test_invalid_request_is_answered_and_stored_atomically(target: Target, data: st.DataObject) -> None:
    endpoint = data.draw(st.sampled_from(target.endpoints))
    check_request(target, endpoint, data.draw(requests_to(endpoint)))


def with_body(endpoint: Endpoint, body: Any) -> dict[str, Any]:
    """Return the arguments of ``Target.send`` for a request in which only the body can be invalid."""
    return {
        "path": endpoint.target(["1"] * len(endpoint.parameters)),
        "method": endpoint.method,
        "headers": {"Authorization": GOOD_TOKEN.encode(), "Content-Type": b"application/json"},
        "content": json.dumps(body).encode(),
    }


@given(st.data())
@settings(FUZZ, max_examples=120)
def test_invalid_body_is_answered_and_stored_atomically(target: Target, data: st.DataObject) -> None:
    endpoint = data.draw(st.sampled_from([one for one in target.endpoints if one.body]))
    body = data.draw(mostly(invalid_bodies(endpoint), wild_json))
    check_request(target, endpoint, with_body(endpoint, body))


@pytest.mark.parametrize(
    "bad",
    ["\ud800", ["\ud800"], f"{HUGE}.1", "a{99999999999999999999}"],
    ids=["surrogate", "surrogates", "digits", "repetitions"],
)
def test_invalid_value_in_any_field_is_answered(target: Target, bad: Any) -> None:
    for endpoint in target.endpoints:
        for path in endpoint.body or ():
            check_request(target, endpoint, with_body(endpoint, put(valid_body(endpoint), path, bad)))


def test_any_bytes_as_body_are_answered(target: Target) -> None:
    for endpoint in target.endpoints:
        for content in BYTES if endpoint.body else []:
            check_request(target, endpoint, with_body(endpoint, None) | {"content": content})


def test_any_origin_is_answered(target: Target) -> None:
    for endpoint in target.endpoints:
        for origin in ORIGINS if not endpoint.is_api and endpoint.method == "POST" else []:
            headers = {"Origin": origin.encode("latin-1")}
            request = with_body(endpoint, None) | {"headers": headers, "content": b""}
            check_request(target, endpoint, request)


def test_any_query_of_a_page_is_answered(target: Target) -> None:
    for endpoint in target.endpoints:
        for name in endpoint.query if not endpoint.is_api and endpoint.method == "GET" else []:
            for text in TEXTS if name not in COMMON_PARAMETERS else []:
                request = with_body(endpoint, None) | {"content": b""}
                check_request(
                    target, endpoint, request | {"path": request["path"] + "?" + urlencode({name: text})}
                )


def test_valid_body_is_accepted(target: Target) -> None:
    # Tests with one invalid field need requests that are valid otherwise.
    # A simulation takes fields of its own.
    taken = [
        endpoint
        for endpoint in target.endpoints
        if endpoint.body and not endpoint.path.endswith("/simulation")
    ]
    assert taken
    for endpoint in taken:
        request = with_body(endpoint, valid_body(endpoint))
        answer = target.send(endpoint, **request)
        assert answer.status_code == 200, (endpoint.path, answer.text)
        target.cloud.service.faults.clear()
        target.restore()


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_body_is_413(target: Target, chunked: bool) -> None:
    headers = {"Authorization": GOOD_TOKEN, "Content-Type": "application/json"}
    reading = [endpoint for endpoint in target.endpoints if endpoint.body is not None]
    assert reading
    for endpoint in reading:
        path = endpoint.target(["1"] * len(endpoint.parameters))
        limit = MAX_CONTROL_BODY_BYTES if path.startswith("/local/") else MAX_BODY_BYTES
        large = b" " * (limit + 1)
        content = [large] if chunked else large
        response = target.send(endpoint, path=path, headers=headers, content=content)
        assert response.status_code == 413, endpoint
        check_format(endpoint, response)
    assert target.contents() == target.stored
