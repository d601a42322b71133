"""Endpoints that provision projects, environments, connections, credentials and repositories.

As in dbt Cloud, POST to an object replaces it, so an omitted field gets its default: openapi-v3.yaml says so
of ``credentials_id``, and the Terraform provider unlinks a repository this way. PATCH changes only the given
fields. DELETE and ``state`` 2 delete.
"""

from collections.abc import Callable, Set
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import select

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.bodies import merged, validated
from local_dbt_cloud.api.envelope import api_error, envelope, list_envelope
from local_dbt_cloud.api.parameters import PathId, SerializerDependency
from local_dbt_cloud.api.query import EnvironmentQuery, ListQuery, ObjectQuery, ProjectQuery
from local_dbt_cloud.database import (
    AccountObject,
    Connection,
    Credentials,
    Environment,
    ExtendedAttributes,
    JobState,
    Project,
    Repository,
)
from local_dbt_cloud.provisioning import (
    ConnectionDefinition,
    CredentialsDefinition,
    Definition,
    EnvironmentDefinition,
    ExtendedAttributesDefinition,
    ProjectDefinition,
    RepositoryDefinition,
    active_object,
    active_objects,
    delete_object,
)
from local_dbt_cloud.run_plan import active_run_ids
from local_dbt_cloud.validation import MAX_ID

ObjectId = Annotated[int, Path(alias="id", ge=-MAX_ID, le=MAX_ID)]
AnyObject = Annotated[dict[str, Any], Body()]
# Fields that clients send back as they read them, but cannot set.
READ_ONLY = {"id", "account_id", "project_id", "state", "created_at", "updated_at"}


async def _project_of_path(request: Request, serializer: SerializerDependency) -> int | None:
    """Return the ID of the project in the path, if there is one; respond with 404 if it does not exist."""
    project_id = request.path_params.get("project_id")
    if project_id is None:
        return None
    is_id = project_id.isdecimal() and len(project_id) < 20 and int(project_id) <= MAX_ID
    if not is_id or active_object(serializer.session, Project, int(project_id)) is None:
        raise api_error(404)
    return int(project_id)


ProjectOfPath = Annotated[int | None, Depends(_project_of_path)]


async def delete_and_cancel(serializer: SerializerDependency, stored: AccountObject) -> None:
    """Delete an object with everything that belongs to it, and cancel the active runs of deleted jobs.

    The response is 400 if environments use a connection.
    """
    if isinstance(stored, Connection) and serializer.connection(stored)["environment__count"]:
        message = "Environments use this connection: delete them or change their connection first."
        raise api_error(400, {"id": message})
    jobs = delete_object(serializer.session, stored)
    serializer.session.commit()
    for job_id in jobs:
        for run_id in active_run_ids(serializer.session, job_id):
            await serializer.service.scheduler.cancel(run_id)


def _router(
    path: str,
    kind: type[AccountObject],
    model: type[Definition],
    operations: Set[str],
    query_model: type[ListQuery] = ObjectQuery,
) -> APIRouter:
    """Return the endpoints for one kind of object.

    :param path: Path of the list, below the account.
    :param operations: Which of ``list``, ``create``, ``get``, ``update``, ``patch`` and ``delete`` exist.
    """
    router = account_router(prefix=path)
    belongs_to_project = kind not in (Project, Connection)

    def serialized(
        serializer: SerializerDependency, request: Request, stored: AccountObject
    ) -> dict[str, Any]:
        return serializer.account_object(stored, "v3" if "/api/v3/" in request.url.path else "v2")

    def found(serializer: SerializerDependency, object_id: int, project_id: int | None) -> AccountObject:
        stored = active_object(serializer.session, kind, object_id)
        if stored is None or project_id not in (None, stored.definition.get("project_id")):
            raise api_error(404)
        return stored

    def definition(
        serializer: SerializerDependency, body: dict[str, Any], project_id: int | None
    ) -> dict[str, Any]:
        fields = validated(model, {name: value for name, value in body.items() if name not in READ_ONLY})
        for field, target in model.references.items():
            object_id = getattr(fields, field)
            referred = active_object(serializer.session, target, object_id)
            if object_id and (
                referred is None or referred.definition.get("project_id") not in (None, project_id)
            ):
                raise api_error(400, {field: f"{target.__name__} {object_id} does not exist."})
        parent = {"project_id": project_id} if belongs_to_project else {}
        return fields.model_dump(mode="json") | parent

    async def list_objects(
        request: Request,
        serializer: SerializerDependency,
        project_id: ProjectOfPath,
        query: Annotated[Any, Query()],
    ) -> JSONResponse:
        items = [
            serialized(serializer, request, one)
            for one in serializer.session.scalars(select(kind))
            if project_id in (None, one.definition.get("project_id"))
        ]
        if kind is Connection:
            # openapi-v3.yaml: "This field will always be null in list responses."
            items = [item | {"config": None} for item in items]
        page, total = query.select(items)
        return list_envelope(serializer.service, page, total, query)

    async def create_object(
        request: Request, serializer: SerializerDependency, project_id: ProjectOfPath, body: AnyObject
    ) -> JSONResponse:
        if project_id is None and belongs_to_project:
            project = active_object(serializer.session, Project, _as_id(body.get("project_id")))
            if project is None:
                raise api_error(400, {"project_id": f"Project {body.get('project_id')} does not exist."})
            project_id = project.id
        stored = kind(definition=definition(serializer, body, project_id))
        serializer.session.add(stored)
        serializer.session.commit()
        return envelope(serialized(serializer, request, stored))

    async def get_object(
        request: Request, serializer: SerializerDependency, project_id: ProjectOfPath, object_id: ObjectId
    ) -> JSONResponse:
        return envelope(serialized(serializer, request, found(serializer, object_id, project_id)))

    async def change(
        request: Request, serializer: SerializerDependency, stored: AccountObject, body: dict[str, Any]
    ) -> JSONResponse:
        if body.get("id", stored.id) not in (None, stored.id):
            raise api_error(400, {"id": "The provided id does not match."})
        if body.get("state") == JobState.DELETED:
            await delete_and_cancel(serializer, stored)
        else:
            owner = stored.id if isinstance(stored, Project) else stored.definition.get("project_id")
            stored.definition = definition(serializer, body, owner)
            serializer.session.commit()
        return envelope(serialized(serializer, request, stored))

    async def update_object(
        request: Request,
        serializer: SerializerDependency,
        project_id: ProjectOfPath,
        object_id: ObjectId,
        body: AnyObject,
    ) -> JSONResponse:
        return await change(request, serializer, found(serializer, object_id, project_id), body)

    async def patch_object(
        request: Request,
        serializer: SerializerDependency,
        project_id: ProjectOfPath,
        object_id: ObjectId,
        body: AnyObject,
    ) -> JSONResponse:
        stored = found(serializer, object_id, project_id)
        # The Terraform provider sends the changed fields of a connection, but all extended attributes.
        fields = merged(stored.definition, body) if kind is Connection else stored.definition | body
        return await change(request, serializer, stored, fields)

    async def delete_one(
        request: Request, serializer: SerializerDependency, project_id: ProjectOfPath, object_id: ObjectId
    ) -> JSONResponse:
        stored = found(serializer, object_id, project_id)
        await delete_and_cancel(serializer, stored)
        return envelope(serialized(serializer, request, stored))

    list_objects.__annotations__["query"] = Annotated[query_model, Query()]
    endpoints: dict[str, tuple[str, str, Callable[..., Any]]] = {
        "list": ("GET", "", list_objects),
        "create": ("POST", "", create_object),
        "get": ("GET", "/{id}", get_object),
        "update": ("POST", "/{id}", update_object),
        "patch": ("PATCH", "/{id}", patch_object),
        "delete": ("DELETE", "/{id}", delete_one),
    }
    for operation, (method, suffix, endpoint) in endpoints.items():
        if operation in operations:
            router.add_api_route(suffix, endpoint, methods=[method])
    return router


def _as_id(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value <= MAX_ID else None


project_connections = account_router(prefix="/projects/{project_id}/connections")


@project_connections.get("")
async def list_project_connections(
    serializer: SerializerDependency, project_id: PathId, query: Annotated[ObjectQuery, Query()]
) -> JSONResponse:
    """List the connections that the environments of a project use."""
    items = [serializer.project_connection(one, project_id) for one in _used(serializer, project_id)]
    return list_envelope(serializer.service, *query.select(items), query)


@project_connections.get("/{id}")
async def get_project_connection(
    serializer: SerializerDependency, project_id: PathId, object_id: ObjectId
) -> JSONResponse:
    """Get a connection that an environment of a project uses."""
    for connection in _used(serializer, project_id):
        if connection.id == object_id:
            return envelope(serializer.project_connection(connection, project_id))
    raise api_error(404)


def _used(serializer: SerializerDependency, project_id: int) -> list[Connection]:
    environments = active_objects(serializer.session, Environment, project_id)
    used = {environment.definition["connection_id"] for environment in environments}
    return [one for one in active_objects(serializer.session, Connection) if one.id in used]


READ = {"list", "get"}
ALL = READ | {"create", "update", "delete"}
IN_PROJECT = "/projects/{project_id}"

_projects = _router("/projects", Project, ProjectDefinition, ALL, ProjectQuery)


def _environments(path: str, operations: Set[str] = frozenset(ALL)) -> APIRouter:
    return _router(path, Environment, EnvironmentDefinition, operations, EnvironmentQuery)


v2_routers = (
    _projects,
    _environments("/environments"),
    _router("/repositories", Repository, RepositoryDefinition, READ | {"create", "delete"}),
)
v3_routers = (
    _projects,
    _environments(IN_PROJECT + "/environments"),
    # Not in the OpenAPI file, but the Terraform provider and dbt-jobs-as-code call it.
    _environments("/environments", READ),
    _router("/connections", Connection, ConnectionDefinition, READ | {"create", "patch", "delete"}),
    project_connections,
    _router(IN_PROJECT + "/credentials", Credentials, CredentialsDefinition, ALL | {"patch"}),
    _router(IN_PROJECT + "/repositories", Repository, RepositoryDefinition, ALL),
    _router(
        IN_PROJECT + "/extended-attributes", ExtendedAttributes, ExtendedAttributesDefinition,
        {"create", "get", "patch", "delete"},
    ),
)  # fmt: skip
