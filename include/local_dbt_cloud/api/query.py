"""Reads the query of a list as dbt Cloud's clients write it: pages, orders, filters, related objects."""

import re
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy import ColumnElement

from include.local_dbt_cloud.account import MAX_INT64
from include.local_dbt_cloud.api.envelope import page
from include.local_dbt_cloud.service import Service
from include.local_dbt_cloud.store import Run

Integer = Annotated[int, Field(ge=-MAX_INT64, le=MAX_INT64)]


def _split(values: list[str]) -> list[str]:
    """Split a list as clients write it: ``[1, 2]``, ``1,2``, ``["a"]``, ``['a']``, repeated keys."""
    return [part for value in values for part in re.split(r"""[\s,\[\]"']+""", value) if part]


IntegerList = Annotated[list[Integer], BeforeValidator(_split)]


class Paging(BaseModel):
    """Which part of a list; above 100 is refused, as by dbt Cloud."""

    limit: int = Field(default=100, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=MAX_INT64)


class RunQuery(Paging):
    """The query of a list of runs; all filters that are given must hold."""

    order_by: Literal["id", "-id", "created_at", "-created_at", "finished_at", "-finished_at"] = "id"
    pk: Integer | None = None
    pk__in: IntegerList | None = None
    id__gt: Integer | None = None
    job_definition_id: Integer | None = None
    project_id: Integer | None = None
    project_id__in: IntegerList | None = None
    environment_id: Integer | None = None
    status: Integer | None = None
    status__in: IntegerList | None = None
    has_docs_generated: bool | None = None
    has_sources_generated: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filters as conditions on stored runs."""
        conditions: list[ColumnElement[bool]] = []
        for name, value in self.filters().items():
            field, _, comparison = name.partition("__")
            column = getattr(Run, "id" if field == "pk" else field)
            match comparison:
                case "in":
                    conditions.append(column.in_(value))
                case "gt":
                    conditions.append(column > value)
                case _:
                    conditions.append(column == value)
        return conditions

    def filters(self) -> dict[str, Any]:
        """Return the filters that were given."""
        return self.model_dump(exclude={"limit", "offset", "order_by"}, exclude_none=True)

    def ordering(self) -> list[ColumnElement[Any]]:
        """Return the order; runs that are alike in it stand in the order of their ids."""
        column = getattr(Run, self.order_by.removeprefix("-"))
        if self.order_by.startswith("-"):
            return [column.desc(), Run.id.desc()]
        return [column.asc(), Run.id.asc()]


class NamedQuery(Paging):
    """The query of a list of projects, environments or jobs."""

    order_by: Literal["id", "-id", "name", "-name"] = "id"
    pk: Integer | None = None
    name__icontains: str | None = None
    project_id: Integer | None = None
    project_id__in: IntegerList | None = None
    environment_id: Integer | None = None

    def page(self, service: Service, items: list[dict[str, Any]], **filters: Any) -> JSONResponse:
        """Answer with the part of the items that is asked for; ``filters`` are those that always hold."""
        filters["account_id"] = service.declaration.account.id
        found = [item for item in items if self._accepts(item)]
        key = self.order_by.removeprefix("-")
        found.sort(key=lambda item: item[key], reverse=self.order_by.startswith("-"))
        selected = found[self.offset : self.offset + self.limit]
        given = self.model_dump(exclude={"order_by"}, exclude_none=True)
        return page(selected, len(found), filters | given, self.order_by)

    def _accepts(self, item: dict[str, Any]) -> bool:
        return (
            self.pk in (None, item["id"])
            and (self.name__icontains or "").lower() in item["name"].lower()
            and self.project_id in (None, item.get("project_id", item["id"]))
            and (self.project_id__in is None or item.get("project_id", item["id"]) in self.project_id__in)
            and self.environment_id in (None, item.get("environment_id", item["id"]))
        )


Named = Annotated[NamedQuery, Query()]


async def related(include_related: Annotated[list[str], Query()] = []) -> set[str]:  # noqa: B006
    """Read the names in include_related, a dependency of the endpoints that take it."""
    return set(_split(include_related))
