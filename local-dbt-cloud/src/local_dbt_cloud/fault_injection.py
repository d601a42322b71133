"""Faults that tests inject into the responses of the API."""

import itertools
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from local_dbt_cloud.validation import Text

Seconds = Annotated[float, Field(ge=0, le=3600)]

# Effects that replace the response, and effects that need the response. `delay` can be combined with either.
REPLACING_EFFECTS = {"status", "html"}
REWRITING_EFFECTS = {"drop", "hide_new_runs", "run_status"}
EFFECTS = REPLACING_EFFECTS | REWRITING_EFFECTS | {"delay"}


class Fault(BaseModel):
    """A fault: the requests that it applies to, and its effects on them.

    :param method: HTTP method to match; any if None.
    :param path: Regular expression to search for in the path, which has no trailing slash here.
    :param times: Number of requests that the fault applies to; None means until it is cleared.
    :param status: Respond with this HTTP status and do not process the request.
    :param retry_after: Seconds for the Retry-After header of such a response.
    :param html: Respond with an HTML page, as a proxy does, and do not process the request.
    :param acts: Process the request before responding with ``status`` or ``html``, as if a proxy timed out.
    :param delay: Seconds to wait before anything else.
    :param drop: Close the connection without a response, before or after processing the request.
    :param hide_new_runs: Remove runs younger than this many seconds from the response to a GET request.
    :param run_status: Report runs in this status, which may be one that dbt Cloud does not have.
    """

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(pattern="^[A-Za-z]+$")] | None = None
    path: Annotated[Text, Field(min_length=1, max_length=500)]
    times: Annotated[int, Field(ge=1)] | None = 1
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    html: bool = False
    acts: bool = False
    delay: Seconds | None = None
    drop: Literal["before", "after"] | None = None
    hide_new_runs: Seconds | None = None
    run_status: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    @field_validator("path")
    @classmethod
    def _check_pattern(cls, path: str) -> str:
        try:
            re.compile(path)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return path

    @model_validator(mode="after")
    def _check_effects(self) -> Self:
        values = {name: getattr(self, name) for name in EFFECTS}
        effects = {name for name, value in values.items() if value is not None and value is not False}
        if not effects:
            raise ValueError(f"a fault needs at least one of {', '.join(sorted(EFFECTS))}")
        replaces = bool(effects & REPLACING_EFFECTS)
        if (replaces and effects & REWRITING_EFFECTS) or effects >= {"drop", "hide_new_runs"}:
            raise ValueError(f"{', '.join(sorted(effects))} cannot be combined")
        if self.retry_after is not None and not replaces:
            raise ValueError("retry_after needs status or html")
        if self.acts and not replaces:
            raise ValueError("acts needs status or html")
        return self

    def matches(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a request."""
        return self.method in (None, method) and re.search(self.path, path) is not None


class FaultRegistry:
    """The active faults, oldest first."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> int:
        """Activate a fault and return its ID."""
        fault_id = next(self._ids)
        self._faults[fault_id] = fault.model_copy(update={"method": fault.method and fault.method.upper()})
        return fault_id

    def all(self) -> list[dict[str, Any]]:
        """Return the active faults with their IDs; ``times`` is the number of requests left."""
        return [{"id": fault_id} | fault.model_dump() for fault_id, fault in self._faults.items()]

    def remove(self, fault_id: int) -> bool:
        """Remove a fault, and return whether it was active."""
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take_match(self, method: str, path: str) -> Fault | None:
        """Return the oldest fault that matches a request, and count the request; None if no fault matches."""
        for fault_id, fault in self._faults.items():
            if fault.matches(method, path):
                if fault.times == 1:
                    del self._faults[fault_id]
                elif fault.times:
                    self._faults[fault_id] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None
