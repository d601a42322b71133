"""A dbt Cloud in memory that misbehaves at random."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from random import Random
from typing import Any

from tests.simulation.clock import EPOCH, Clock, Process

JOB = 101
HUMANIZED = {1: "Queued", 2: "Starting", 3: "Running", 10: "Success", 20: "Error", 30: "Cancelled"}
TIME_LIMIT = "This run timed out after running for 1 minute."
# Seconds after which every list shows a run whose request has been given up. The library waits for a minute.
MAX_LAG = 25.0
MAX_DELAY = 25.0

# Failures after which dbt Cloud may have acted or not, and those after which it has not.
UNKNOWN = ("reset", "timeout", "503", "500", "408", "html", "redirect", "truncated", "empty", "null", "wrong")
NOT_DONE = ("refused", "429", "rejected")


@dataclass(eq=False)
class Run:
    """A run whose whole course is drawn when it is created.

    :param owner: The process that started it; None for somebody else.
    :param visible_at: When lists begin to show it.
    """

    id: int
    created: float
    cause: str
    owner: Any
    queued_for: float
    runs_for: float
    ends_as: int
    status_message: str = ""
    retrying: int | None = None
    # Whether its owner received its ID.
    is_known: bool = False
    visible_at: float = 0.0
    canceled_at: float = float("inf")
    canceled_by: str = ""
    deleted_at: float = float("inf")

    @property
    def ends_at(self) -> float:
        """Return when it ends."""
        return min(self.created + self.queued_for + self.runs_for, self.canceled_at)

    def status(self, at: float) -> int:
        """Return its status at a time."""
        started = self.created + self.queued_for
        if at >= self.ends_at:
            return 30 if self.canceled_at <= self.ends_at else self.ends_as
        return 1 if at < started else 2 if at < started + 1 else 3

    def is_active(self, at: float) -> bool:
        """Return whether it is queued, starting or running."""
        return at < min(self.ends_at, self.deleted_at)

    def cancel(self, at: float, by: str) -> None:
        """Cancel it if it is still active then."""
        if at < self.ends_at:
            self.canceled_at, self.canceled_by = at, by

    def to_json(self, at: float, with_cause: bool) -> dict[str, Any]:
        """Return what the API shows of it."""
        status = self.status(at)
        expired = status == 30 and not self.canceled_by
        return {
            "id": self.id,
            "account_id": 1,
            "status": status,
            "status_humanized": HUMANIZED[status],
            "status_message": TIME_LIMIT if expired else None,
            "href": f"https://cloud/runs/{self.id}/",
            "created_at": str(datetime.fromtimestamp(EPOCH + self.created, UTC)),
            "trigger": {"cause": self.cause} if with_cause else None,
            "retrying_run_id": self.retrying,
            "run_steps": [],
        }


@dataclass
class Answer:
    """A response, or the failure that replaces it."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    failure: str = ""


@dataclass
class Exchange:
    """A request on its way: time passes before dbt Cloud acts, and after that."""

    act: Callable[[], None]
    answer: Callable[[], Answer]
    before: float
    after: float
    created: list[Run]


@dataclass
class Cloud:
    """The runs of one job, and how dbt Cloud misbehaves.

    :param rate: Probability of a fault for each request outside of ``windows``.
    :param watch: Called with an event, ``created`` or ``cancel``, and a run.
    """

    clock: Clock
    random: Random
    watch: Callable[[str, Run], None]
    rate: float = 0.0
    lag: float = 0.0
    token: str = "token-1"
    runs: dict[int, Run] = field(default_factory=dict)
    # Windows of time in which every request fails: begin, end, kind.
    windows: list[tuple[float, float, str]] = field(default_factory=list)
    job_deleted_at: float = float("inf")
    filters_by_id: bool = True
    late_cancels: float = 0.0
    refuses_late_cancels: bool = False
    can_retry: bool = True
    endings: list[int] = field(default_factory=lambda: [10])
    # Number of requests with a fault, and all requests.
    faults: int = 0
    requests: list[str] = field(default_factory=list)

    def create(self, cause: str, owner: Process | None, **more: Any) -> Run:
        """Create a run."""
        run = Run(
            id=max(self.runs, default=0) + self.random.choice([1, 1, 7]),
            created=self.clock.now,
            cause=cause,
            owner=owner,
            queued_for=self.random.choice([0, 5, 5, 60]),
            runs_for=self.random.choice([1, 30, 30, 300]),
            ends_as=self.random.choice(self.endings),
            visible_at=self.clock.now + self.random.uniform(0, self.lag),
            **more,
        )
        self.runs[run.id] = run
        self.watch("created", run)
        return run

    def exchange(self, method: str, path: str, query: dict[str, str], token: str, timeout: float) -> Exchange:
        """Decide when and how a request is processed and answered."""
        path = path.partition("/accounts/1/")[2].strip("/")
        self.requests.append(f"{method} {path}")
        assert len(self.requests) < 20_000, "too many requests"
        process, fault = self.clock.current, self._fault(method, token)
        if fault:
            self.faults += 1
        acts = not fault or (fault in UNKNOWN and self.random.random() < 0.5)
        body: list[Answer] = []
        created: list[Run] = []
        latency = self.random.uniform(0.05, 1)

        def act() -> None:
            if acts or method == "GET":
                newest = max(self.runs, default=0)
                body.append(self._answer(method, path, query, process))
                created.extend(run for run in self.runs.values() if run.id > newest and not fault)

        def answer() -> Answer:
            return self._spoil(fault, body[0] if body else Answer(200, "{}"))

        if fault == "timeout":
            # Some act long after the client gave up.
            if acts and method == "POST" and self.random.random() < 0.3:
                self.clock.at(self.clock.now + timeout + self.random.uniform(0, MAX_DELAY), act)
                return Exchange(lambda: None, answer, 0, timeout, created)
            return Exchange(act, answer, 0, timeout, created)
        return Exchange(act, answer, latency / 2, latency / 2, created)

    def _fault(self, method: str, token: str) -> str:
        now = self.clock.now
        for begin, end, kind in self.windows:
            if begin <= now < end:
                return kind if kind != "outage" else self.random.choice([*NOT_DONE[:1], "down", "reset0"])
        if token != self.token:
            return "401"
        if self.random.random() >= self.rate:
            return ""
        fault = self.random.choice((*UNKNOWN, *NOT_DONE))
        if method == "POST":
            return fault
        # The library could not distinguish a wrongly empty list from a correct one.
        return {"rejected": "404", "empty": "null"}.get(fault, fault)

    def _spoil(self, fault: str, answer: Answer) -> Answer:
        match fault:
            case "":
                return answer
            case "503" | "500" | "408" | "401" | "403" | "404":
                return Answer(int(fault), '{"status": {"user_message": "No."}, "data": null}')
            case "down":
                return Answer(503, "<html>Down for maintenance</html>")
            case "rejected":
                return Answer(400, '{"status": {"user_message": "The queue is full."}, "data": null}')
            case "429":
                seconds = self.random.choice([1, 30, 600])
                value = self.random.choice(
                    [str(seconds), formatdate(EPOCH + self.clock.now + seconds), "soon"]
                )
                return Answer(429, "", {"Retry-After": value})
            case "html":
                return Answer(200, "<html>Welcome</html>", {"Content-Type": "text/html"})
            case "redirect":
                return Answer(302, "", {"Location": "https://login/"})
            case "truncated":
                return Answer(200, answer.body[: self.random.randrange(len(answer.body))])
            case "empty":
                return Answer(200, '{"data": []}')
            case "null":
                return Answer(200, '{"data": null}')
            case "wrong":
                return Answer(200, self.random.choice(['{"data": [{}]}', '{"data": {"id": "7"}}', "[]", "7"]))
        return Answer(0, "", failure=fault.strip("0"))

    def _answer(self, method: str, path: str, query: dict[str, str], process: Process) -> Answer:
        match method, path.split("/"):
            case "POST", ["jobs", job_id, "run"]:
                if int(job_id) != JOB or self.clock.now >= self.job_deleted_at:
                    return Answer(404, "{}")
                return self._one(self.create(json.loads(query["body"])["cause"], process), with_cause=True)
            case "POST", ["runs", run_id, "retry"]:
                failed = self.runs[int(run_id)]
                is_newest = max(self.runs) == failed.id
                if not (self.can_retry and is_newest and failed.status(self.clock.now) == 20):
                    return Answer(400, "{}")
                return self._one(self.create(f"Retry of run {failed.id}", process, retrying=failed.id))
            case "POST", ["runs", run_id, "cancel"]:
                return self._cancel(self.runs[int(run_id)])
            case "GET", ["runs"]:
                return self._list(query)
            case "GET", ["runs", run_id]:
                run = self.runs.get(int(run_id))
                if run is None or self.clock.now >= run.deleted_at:
                    return Answer(404, "{}")
                return self._one(run, "trigger" in query.get("include_related", ""), stale=True)
        return Answer(404, "{}")

    def _one(self, run: Run, with_cause: bool = False, stale: bool = False) -> Answer:
        at = self.clock.now - (self._staleness() if stale else 0)
        return Answer(200, json.dumps({"data": run.to_json(max(at, run.created), with_cause)}))

    def _staleness(self) -> float:
        return self.random.choice([0, 0, self.random.uniform(0, self.lag)])

    def _cancel(self, run: Run) -> Answer:
        now = self.clock.now
        if now >= run.deleted_at:
            return Answer(404, "{}")
        if now >= run.ends_at and self.refuses_late_cancels:
            return Answer(409, "{}")
        self.watch("cancel", run)
        if self.random.random() >= self.late_cancels:
            run.cancel(now, "api")
            return self._one(run)
        self.faults += 1
        if self.random.random() < 0.8:
            self.clock.at(now + self.random.uniform(1, 40), lambda: run.cancel(self.clock.now, "api"))
        return self._one(run)

    def _list(self, query: dict[str, str]) -> Answer:
        now, at = self.clock.now, self.clock.now - self._staleness()
        runs = [
            run for run in self.runs.values() if run.visible_at <= now < run.deleted_at and run.created <= at
        ]
        if "job_definition_id" in query and now >= self.job_deleted_at:
            runs = []
        for name, value in (("status__in", Run.status), ("pk__in", lambda run, _: run.id)):
            if name in query:
                wanted = {int(number) for number in re.findall(r"\d+", query[name])}
                runs = [run for run in runs if value(run, at) in wanted]
        if "pk__in" in query and not self.filters_by_id:
            return Answer(400, "{}")
        runs.sort(key=lambda run: run.id, reverse=query.get("order_by") == "-id")
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100))
        page = runs[offset : offset + limit]
        self.random.shuffle(page)
        with_cause = "trigger" in query.get("include_related", "")
        return Answer(200, json.dumps({"data": [run.to_json(at, with_cause) for run in page]}))
