"""Query parameters of list endpoints: pagination, ordering, filters, related objects."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from sqlalchemy import ColumnElement, false, func

from local_dbt_cloud.database import JobState, Run
from local_dbt_cloud.validation import MAX_ID


def split_list(values: list[str] | str) -> list[str]:
    """Split a list as clients write it: ``[1, 2]``, ``1,2``, ``["a",,"b"]``, ``['a']``, repeated keys."""
    items = [item for value in ([values] if isinstance(values, str) else values) for item in value.split(",")]
    return [stripped for item in items if (stripped := item.strip(" \t\r\n[]\"'"))]


def _as_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


Integer = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]
# None is part of the annotated type, because FastAPI otherwise reads only the last of repeated keys.
Integers = Annotated[list[Integer] | None, BeforeValidator(split_list), Field(max_length=1000)]
Strings = Annotated[list[str] | None, BeforeValidator(split_list), Field(max_length=1000)]
Range = Annotated[
    list[Annotated[datetime, AfterValidator(_as_utc)]] | None,
    BeforeValidator(split_list),
    Field(min_length=2, max_length=2),
]
State = Literal["active", "deleted", "all", "1", "2"]

# dbt Cloud accepts names and numbers.
STATES = {
    "active": [JobState.ACTIVE],
    "1": [JobState.ACTIVE],
    "deleted": [JobState.DELETED],
    "2": [JobState.DELETED],
    "all": [JobState.ACTIVE, JobState.DELETED],
}


class ListQuery(BaseModel):
    """Pagination, ordering and filters of a list; an item must match all filters.

    A filter is the name of a field, or that name followed by ``__in``, ``__gt``, ``__range`` (inclusive) or
    ``__icontains``; ``pk`` is the ID. Unknown parameters are ignored.
    """

    not_field_filters: ClassVar = {"limit", "offset", "order_by", "state"}

    limit: int = Field(default=100, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=MAX_ID)
    order_by: str = "id"
    state: State = "active"
    pk: Integer | None = None
    pk__in: Integers = None

    def filters(self) -> list[tuple[str, str, Any]]:
        """Return the field filters, each as a field, an operator (empty for equality) and a value."""
        filters = []
        for name, value in self.model_dump(exclude=self.not_field_filters, exclude_none=True).items():
            field, _, operator = name.partition("__")
            filters.append(("id" if field == "pk" else field, operator, value))
        return filters

    def as_response_filters(self) -> dict[str, Any]:
        """Return the query as ``extra.filters`` of the response repeats it."""
        return self.model_dump(mode="json", exclude={"order_by"}, exclude_none=True)

    def select(self, items: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        """Filter, sort and paginate serialized items; return the page and the total number of items."""
        matching = [item for item in items if self._matches(item)]
        key = self.order_by.removeprefix("-")
        matching.sort(key=lambda item: (item[key], item["id"]), reverse=self.order_by.startswith("-"))
        return matching[self.offset : self.offset + self.limit], len(matching)

    def _matches(self, item: dict[str, Any]) -> bool:
        def matches(actual: Any, operator: str, value: Any) -> bool:
            match operator:
                case "in":
                    return actual in value
                case "gt":
                    return actual > value
                case "icontains":
                    return value.lower() in actual.lower()
            return actual == value

        return item["state"] in STATES[self.state] and all(
            matches(item[field], operator, value) for field, operator, value in self.filters()
        )


class ObjectQuery(ListQuery):
    """Parameters of the lists of connections, credentials and repositories."""

    order_by: Literal["id", "-id", "created_at", "-created_at", "updated_at", "-updated_at"] = "id"


class NamedQuery(ListQuery):
    """Parameters of the lists of projects, environments and jobs."""

    order_by: Literal[
        "id", "-id", "name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"
    ] = "id"
    name__icontains: str | None = None


class ProjectQuery(NamedQuery):
    """Parameters of the list of projects."""

    pk__gt: Integer | None = None


class EnvironmentQuery(NamedQuery):
    """Parameters of the list of environments."""

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
    """Parameters of the list of jobs."""

    project_id: Integer | None = None
    project_id__in: Integers = None
    environment_id: Integer | None = None
    dbt_version__in: Strings = None
    triggers_schedule: bool | None = None
    is_system: bool | None = None
    is_fusion_ready: bool | None = None

    def _matches(self, item: dict[str, Any]) -> bool:
        schedule = item["triggers"]["schedule"]
        return super()._matches(item | {"triggers_schedule": schedule, "is_fusion_ready": False})


class RunQuery(ListQuery):
    """Parameters of the list of runs."""

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
        """Return the filters as SQL conditions on stored runs."""
        conditions: list[ColumnElement[bool]] = [] if JobState.ACTIVE in STATES[self.state] else [false()]
        return conditions + [self._condition(*field_filter) for field_filter in self.filters()]

    def _condition(self, field: str, operator: str, value: Any) -> ColumnElement[bool]:
        if field == "deferring_run_id":
            # No run defers to another one here.
            return false()
        column = getattr(Run, field)
        match operator:
            case "in":
                return column.in_(value)
            case "gt":
                return column > value
            case "range":
                # For a range, SQLite would use the index of this column and then sort the result, which takes
                # longer than a scan in the requested order. An expression hides the column from the query
                # planner.
                is_order = self.order_by.removeprefix("-") == field
                return (column if is_order else func.coalesce(column, column)).between(*value)
        return column == value

    def ordering(self, reverse: bool = False) -> list[ColumnElement[Any]]:
        """Return the ORDER BY expressions; the ID decides between equal values.

        :param reverse: Reverse the requested order.
        """
        column = getattr(Run, self.order_by.removeprefix("-"))
        if self.order_by.startswith("-") != reverse:
            return [column.desc(), Run.id.desc()]
        return [column.asc(), Run.id.asc()]


async def include_related(include_related: Annotated[list[str], Query()] = []) -> set[str]:  # noqa: B006
    """Return the names in ``include_related``; a dependency of the endpoints that support it."""
    return set(split_list(include_related))
