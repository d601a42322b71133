"""Reads the query of a list as dbt Cloud's clients write it: pages, orders, filters, related objects."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from sqlalchemy import ColumnElement, false, func

from local_dbt_cloud.database import Run
from local_dbt_cloud.validation import MAX_ID


def split(values: list[str] | str) -> list[str]:
    """Split a list as clients write it: ``[1, 2]``, ``1,2``, ``["a",,"b"]``, ``['a']``, repeated keys."""
    given = [values] if isinstance(values, str) else values
    parts = [part.strip(" \t\r\n[]\"'") for value in given for part in value.split(",")]
    return [part for part in parts if part]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the moment is out of range") from error


Integer = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]
# The None stands inside, or FastAPI would not see a list and take the last of repeated keys alone.
Integers = Annotated[list[Integer] | None, BeforeValidator(split), Field(max_length=1000)]
Strings = Annotated[list[str] | None, BeforeValidator(split), Field(max_length=1000)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Range = Annotated[list[Moment] | None, BeforeValidator(split), Field(min_length=2, max_length=2)]
State = Literal["active", "deleted", "all", "1", "2"]

# "active" and 1 are one state to dbt Cloud, as are "deleted" and 2.
STATES = {"active": [1], "1": [1], "deleted": [2], "2": [2], "all": [1, 2]}


class ListQuery(BaseModel):
    """Which part of a list, in which order; all filters that are given must hold.

    A filter is the name of a field, or that name with ``__in``, ``__gt``, ``__range`` (with both ends)
    or ``__icontains``; ``pk`` is the id. What is not a filter is ignored.
    """

    no_filters: ClassVar = {"limit", "offset", "order_by", "state"}

    limit: int = Field(default=100, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=MAX_ID)
    order_by: str = "id"
    state: State = "active"
    pk: Integer | None = None
    pk__in: Integers = None

    def filters(self) -> list[tuple[str, str, Any]]:
        """Return the filters that were given, each as a field, a comparison and a value."""
        given = self.model_dump(exclude=self.no_filters, exclude_none=True)
        split_names = [(*name.partition("__")[::2], value) for name, value in given.items()]
        return [("id" if field == "pk" else field, how, value) for field, how, value in split_names]

    def echo(self) -> dict[str, Any]:
        """Return the query as an answer repeats it."""
        return self.model_dump(mode="json", exclude={"order_by"}, exclude_none=True)

    def select(self, items: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        """Return the part of the items that is asked for, and how many the filters leave."""
        found = [item for item in items if self._accepts(item)]
        key = self.order_by.removeprefix("-")
        found.sort(key=lambda item: (item[key], item["id"]), reverse=self.order_by.startswith("-"))
        return found[self.offset : self.offset + self.limit], len(found)

    def _accepts(self, item: dict[str, Any]) -> bool:
        def holds(actual: Any, how: str, value: Any) -> bool:
            match how:
                case "in":
                    return actual in value
                case "gt":
                    return actual > value
                case "icontains":
                    return value.lower() in actual.lower()
            return actual == value

        return item["state"] in STATES[self.state] and all(
            holds(item[field], how, value) for field, how, value in self.filters()
        )


class NamedQuery(ListQuery):
    """What the queries of projects, environments and jobs share."""

    order_by: Literal[
        "id", "-id", "name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"
    ] = "id"
    name__icontains: str | None = None


class ProjectQuery(NamedQuery):
    """The query of a list of projects."""

    pk__gt: Integer | None = None


class EnvironmentQuery(NamedQuery):
    """The query of a list of environments."""

    name: str | None = None
    id__gt: Integer | None = None
    project_id: Integer | None = None
    project_id__in: Integers = None
    dbt_version: str | None = None
    dbt_version__in: Strings = None
    type: str | None = None
    deployment_type: str | None = None
    deployment_type__in: Strings = None
    credentials_id: Integer | None = None


class JobQuery(NamedQuery):
    """The query of a list of jobs."""

    project_id: Integer | None = None
    project_id__in: Integers = None
    environment_id: Integer | None = None
    dbt_version__in: Strings = None
    triggers_schedule: bool | None = None
    is_system: bool | None = None
    is_fusion_ready: bool | None = None

    def _accepts(self, item: dict[str, Any]) -> bool:
        schedule = item["triggers"]["schedule"]
        return super()._accepts(item | {"triggers_schedule": schedule, "is_fusion_ready": False})


class RunQuery(ListQuery):
    """The query of a list of runs."""

    order_by: Literal["id", "-id", "created_at", "-created_at", "finished_at", "-finished_at"] = "id"
    # Runs are never deleted.
    state: State = "all"
    id__gt: Integer | None = None
    job_definition_id: Integer | None = None
    project_id: Integer | None = None
    project_id__in: Integers = None
    environment_id: Integer | None = None
    dbt_version: str | None = None
    dbt_version__in: Strings = None
    status: Integer | None = None
    status__in: Integers = None
    deferring_run_id: Integer | None = None
    has_docs_generated: bool | None = None
    has_sources_generated: bool | None = None
    created_at__range: Range = None
    finished_at__range: Range = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filters as conditions on stored runs."""
        conditions = [] if 1 in STATES[self.state] else [false()]
        for field, how, value in self.filters():
            # No run defers to another here.
            column = getattr(Run, field, None)
            match how:
                case _ if column is None:
                    conditions.append(false())
                case "in":
                    conditions.append(column.in_(value))
                case "gt":
                    conditions.append(column > value)
                case "range":
                    # By its index SQLite finds a range quickly, and then sorts all of it. To walk in the
                    # wanted order is quicker; an expression has no index.
                    ordered = self.order_by.removeprefix("-") == field
                    bound = column if ordered else func.coalesce(column, column)
                    conditions.append(bound.between(*value))
                case _:
                    conditions.append(column == value)
        return conditions

    def ordering(self, backwards: bool = False) -> list[ColumnElement[Any]]:
        """Return the order; runs that are alike in it stand in the order of their ids."""
        column = getattr(Run, self.order_by.removeprefix("-"))
        if self.order_by.startswith("-") != backwards:
            return [column.desc(), Run.id.desc()]
        return [column.asc(), Run.id.asc()]


async def related(include_related: Annotated[list[str], Query()] = []) -> set[str]:  # noqa: B006
    """Read the names in include_related, a dependency of the endpoints that take it."""
    return set(split(include_related))
