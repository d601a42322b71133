"""Faults on demand: what the next requests that match a pattern meet instead of a good answer."""

import itertools
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from local_dbt_cloud.validation import Text

Seconds = Annotated[float, Field(ge=0, le=3600)]


# Instead of acting, or on what comes of it; a delay goes before either.
ANSWERS = {"status", "html"}
AFTER_ACTING = {"drop", "hide_new_runs", "run_status"}
EFFECTS = ANSWERS | AFTER_ACTING | {"delay"}


class Fault(BaseModel):
    """A fault: which requests meet it, how many of them, and what it does to them.

    Effects: ``status`` answers with that HTTP status instead of acting, and with a Retry-After header if
    ``retry_after`` gives its seconds; ``html`` makes the body an HTML page, as a proxy's; ``acts`` lets these
    two come after acting, as from a proxy that gave up too soon; ``delay`` waits so many seconds first;
    ``drop`` closes the connection without an answer, before or after acting; ``hide_new_runs`` leaves runs
    younger than so many seconds out of answers to GET; ``run_status`` reports runs in that status, whatever
    they are really in and whether dbt Cloud knows that status or not.
    """

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(pattern="^[A-Za-z]+$")] | None = None
    # A regular expression that is searched for in the path, which has no trailing slash here.
    path: Annotated[Text, Field(min_length=1, max_length=500)]
    # None is until it is cleared.
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
    def _is_pattern(cls, path: str) -> str:
        try:
            re.compile(path)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return path

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        values = {name: getattr(self, name) for name in EFFECTS}
        effects = {name for name, value in values.items() if value is not None and value is not False}
        if not effects:
            raise ValueError(f"a fault needs one of {', '.join(sorted(EFFECTS))}")
        if (effects & ANSWERS and effects & AFTER_ACTING) or len(effects & {"drop", "hide_new_runs"}) > 1:
            raise ValueError(f"{', '.join(sorted(effects))} do not go together")
        if self.retry_after is not None and not effects & ANSWERS:
            raise ValueError("retry_after goes with status or html")
        if self.acts and not effects & ANSWERS:
            raise ValueError("acts goes with status or html")
        return self

    def matches(self, method: str, path: str) -> bool:
        """Whether a request meets this fault."""
        return self.method in (None, method) and re.search(self.path, path) is not None


class Faults:
    """The faults that are on, oldest first; there are none at the start."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> int:
        """Turn a fault on and return its id."""
        fault_id = next(self._ids)
        self._faults[fault_id] = fault.model_copy(update={"method": fault.method and fault.method.upper()})
        return fault_id

    def all(self) -> list[dict[str, Any]]:
        """Return the faults with their ids; ``times`` is how often each is still met."""
        return [{"id": fault_id} | fault.model_dump() for fault_id, fault in self._faults.items()]

    def clear(self, fault_id: int | None = None) -> bool:
        """Turn one fault or all off; return whether there was any."""
        if fault_id is not None:
            return self._faults.pop(fault_id, None) is not None
        any_on = bool(self._faults)
        self._faults.clear()
        return any_on

    def met_by(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, and count it: of several that match the oldest."""
        for fault_id, fault in self._faults.items():
            if fault.matches(method, path):
                if fault.times == 1:
                    del self._faults[fault_id]
                elif fault.times:
                    self._faults[fault_id] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None
