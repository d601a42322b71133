"""Schedules of jobs: the cron expression that dbt Cloud derives from days and hours, and the next run."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Self

from cron_descriptor import get_description  # type: ignore[import-untyped]
from croniter import croniter  # type: ignore[import-untyped]
from pydantic import Field, field_serializer, model_validator

from local_dbt_cloud.validation import InputModel, Text


def _checked(cron: str) -> str:
    # croniter accepts February 30, which never comes, and R, which is another number at each use.
    with suppress(Exception):
        if len(cron.split()) == 5 and not re.search(r"\bR\b", cron.upper()):
            next_run(cron, datetime.now(UTC))
            describe_cron(cron)
            return cron
    raise ValueError(f"{cron!r} is not a cron expression of five fields that matches a future time")


class ScheduleDate(InputModel):
    """Days of a schedule; 0 is Sunday."""

    type: Literal["every_day", "days_of_week", "custom_cron", "interval_cron"] = "every_day"
    days: list[Annotated[int, Field(ge=0, le=7)]] | None = None
    cron: Text | None = None


class ScheduleTime(InputModel):
    """Hours of a schedule, in UTC."""

    type: Literal["every_hour", "at_exact_hours"] = "every_hour"
    interval: Annotated[int, Field(ge=0, le=23)] | None = None
    hours: list[Annotated[int, Field(ge=0, le=23)]] | None = None


class JobSchedule(InputModel):
    """``HumanReadableSchedule`` of dbt Cloud's OpenAPI file.

    As in recorded responses, ``cron`` follows from ``date`` and ``time``, and these have only the fields of
    their type.
    """

    # The Terraform provider sends an empty one, because the other fields decide.
    cron: Text = ""
    date: ScheduleDate = ScheduleDate()
    time: ScheduleTime = ScheduleTime()

    @model_validator(mode="after")
    def _derive(self) -> Self:
        date, time = self.date, self.time
        if time.type == "at_exact_hours":
            self.time = ScheduleTime(type=time.type, hours=time.hours or [0])
        else:
            self.time = ScheduleTime(type=time.type, interval=time.interval or 1)
        if self.cron and "date" not in self.model_fields_set:
            date = ScheduleDate(type="custom_cron", cron=self.cron)
        match date.type:
            case "every_day":
                self.cron = f"0 {self._hours()} * * *"
                self.date = ScheduleDate()
            case "days_of_week":
                days = date.days or list(range(7))
                self.cron = f"0 {self._hours()} * * {_joined(days)}"
                self.date = ScheduleDate(type=date.type, days=days)
            case "custom_cron" | "interval_cron":
                self.cron = _checked(date.cron or self.cron)
                days_of_week = _days_of_week(self.cron) if date.type == "interval_cron" else None
                self.date = ScheduleDate(type=date.type, days=days_of_week, cron=self.cron)
        return self

    def _hours(self) -> str:
        if self.time.hours:
            return _joined(self.time.hours)
        return "*" if self.time.interval == 1 else f"*/{self.time.interval}"

    @field_serializer("date", "time")
    def _omit_unset(self, value: InputModel) -> dict[str, Any]:
        return value.model_dump(exclude_none=True)


def _joined(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


def _days_of_week(cron: str) -> list[int]:
    days = croniter.expand(cron)[0][4]
    return list(range(7)) if days == ["*"] else sorted(int(day) for day in days)


def next_run(cron: str, after: datetime) -> datetime:
    """Return the first time that a cron expression matches after another time."""
    return croniter(cron, after).get_next(datetime)


@cache
def describe_cron(cron: str) -> str:
    """Return the API's ``cron_humanized``, such as ``Every hour``."""
    return get_description(cron)
