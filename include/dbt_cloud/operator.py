"""Runs a dbt Cloud job: the provider's operator, which starts no run twice, loses none, misjudges none."""

import asyncio
import time
from functools import cached_property
from threading import Thread
from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator as ProviderOperator
from airflow.providers.dbt.cloud.utils.openlineage import inject_parent_job_information_into_dbt_cloud_cause
from airflow.sdk import Asset, Context
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

from include.dbt_cloud.errors import RUN_ERRORS, DbtCloudJobRunCancelled, DbtCloudJobRunLost, DbtCloudRefused
from include.dbt_cloud.hook import DbtCloudHook, may_have_been_done
from include.dbt_cloud.own_runs import cause_with, mark_of, newest_own_run
from include.dbt_cloud.results import read_run_results, table_of
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, outcome_of

# How often to start a run while no answer arrives and no run is to be seen.
STARTS = 3
# For so long dbt Cloud may hide a run that it has just started.
SECONDS_HIDDEN = 60
# Of the task_state_store, which later tries read: the start under way, and the run that the task cancelled.
STARTING, CANCELLED = "dbt_cloud_run_starting", "dbt_cloud_run_cancelled"


class DbtCloudRunJobOperator(ProviderOperator):
    """Execute a dbt Cloud job: the provider's operator, with the same arguments and one more.

    Every run carries the mark of its task instance in its cause. A later try, or one whose request to start a
    run got no answer, looks for the run with its mark before it starts another: it waits for an active one,
    takes one that succeeded as its own, and goes on from one that failed (``retry_from_failure``) or starts
    afresh. With ``reuse_existing_run`` it joins an active run of somebody else instead of queueing behind it;
    what it joined it never cancels.

    :param check_interval: Seconds between two requests; each asks after all runs that tasks wait for.
    :param patience: For how many seconds to wait for a run that is out of sight.
    :raises DbtCloudJobRunFailed: dbt failed.
    :raises DbtCloudJobRunCancelled: Somebody cancelled the run; the task is not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` passed, or ``execution_timeout``: then the run is cancelled.
    :raises DbtCloudJobRunLost: The run was out of sight for too long, and may go on.
    """

    def __init__(self, *, check_interval: int = 5, patience: float = 1800, **kwargs: Any) -> None:
        super().__init__(check_interval=check_interval, **kwargs)
        self.patience = patience
        self.cancel_on_kill = True
        self.cancelled_run: int | None = None
        self.state: Any = None

    @cached_property
    def hook(self) -> DbtCloudHook:
        """The hook, made from ``hook_params``."""
        return DbtCloudHook(self.dbt_cloud_conn_id, **self.hook_params)

    def execute(self, context: Context) -> int:
        """Start a run, or find the one to wait for; wait for it, in the triggerer if ``deferrable``."""
        ti, self.state = context["ti"], context.get("task_state_store")
        self.mark = mark_of(ti)
        # Here, not in the triggerer, where an error ends the task without its reason.
        self.account_id = int(self.account_id or self.hook._resolve_account_id())
        self.job_id = self.hook.job_number(self._resolve_job_id())
        run = self._earlier_run(ti) or self._start_or_join(ti)
        self.run_id = run["id"]
        self.log.info("Run %s of dbt Cloud: %s", run["id"], run["href"])
        ti.xcom_push(key="job_run_url", value=run["href"])
        ti.xcom_push(key="job_run_id", value=run["id"])
        if not self.wait_for_termination:
            return self.run_id
        limit = self.execution_timeout
        trigger = DbtCloudRunJobTrigger(
            conn_id=self.dbt_cloud_conn_id,
            run_id=self.run_id,
            end_time=time.time() + self.timeout,
            execution_deadline=time.time() + limit.total_seconds() if limit else None,
            account_id=self.account_id,
            poll_interval=self.check_interval,
            hook_params=self.hook_params,
            patience=self.patience,
            cancel_on_kill=self.cancel_on_kill,
        )
        if self.deferrable and outcome_of(run) is None:
            self.defer(trigger=trigger, method_name="execute_complete")
        try:
            event = asyncio.run(trigger.wait())
        except AirflowTaskTimeout:
            event = trigger.event("timeout")
        return self.execute_complete(context, event.payload)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> int:
        """Log and push the results of a run; return its id if it succeeded, or raise what became of it."""
        if event is None or event.get("status") not in {"success", *RUN_ERRORS}:
            raise DbtCloudJobRunLost(f"The trigger said nothing that makes sense: {event!r}.")
        self.run_id, self.state = event["run_id"], context.get("task_state_store")
        if event["status"] == "timeout" and event["cancel"]:
            self._cancel()
        # From here on there is nothing left to cancel.
        self.cancel_on_kill = False
        if event["status"] in ("timeout", "waited", "lost"):
            event = self._seen_once_more(event)
        status = event["status"]
        if status in ("success", "error", "cancelled", "expired"):
            try:
                self._publish_results(context, succeeded=status == "success")
            except Exception as error:
                # What became of the run matters more.
                self.log.warning("The results of run %s cannot be shown: %s", self.run_id, error)
        if status == "success":
            self.log.info(event["message"])
            return self.run_id
        if status == "cancelled" and self._has_cancelled(self.run_id):
            raise DbtCloudJobRunException(f"{event['message']} This task had cancelled it, being killed.")
        raise RUN_ERRORS[status](event["message"])

    def on_kill(self) -> None:
        """Cancel the run of a task that is killed while it holds a worker."""
        if self.run_id and self.cancel_on_kill:
            self._cancel()

    def _earlier_run(self, ti: Any) -> dict[str, Any] | None:
        """Return the run that an earlier try started, if this one can take it over."""
        starting, self.failed_run = self._recall(STARTING) or {}, None
        # Without a note, where Airflow keeps none, the mark alone tells.
        if ti.try_number == 1 or (self.state and starting.get("mark") != self.mark):
            return None
        visible_by = starting.get("at", 0) + self.hook.timeout_seconds + SECONDS_HIDDEN
        run = self._look(starting.get("after", 0), visible_by)
        if run is None:
            return None
        outcome = outcome_of(run)
        if outcome == "cancelled" and not self._has_cancelled(run["id"]):
            raise DbtCloudJobRunCancelled(
                f"Run {run['id']} of dbt Cloud, which an earlier try started, was cancelled: {run['href']}"
            )
        if outcome in (None, "success"):
            self.log.info("An earlier try of this task started run %s of dbt Cloud.", run["id"])
            return run
        self.failed_run = run
        return None

    def _start_or_join(self, ti: Any) -> dict[str, Any]:
        """Start a run; with ``reuse_existing_run`` join the first active one, also if it came between."""
        if not (run := self._first_active_run()):
            reason = self.trigger_reason or "Triggered via Apache Airflow"
            if self.openlineage_inject_parent_job_info:
                reason = inject_parent_job_information_into_dbt_cloud_cause(reason, ti)
            ours = self._start(cause_with(self.mark, reason))
            self.run_id = ours["id"]
            run = self._first_active_run()
            if not run or run["id"] >= ours["id"]:
                return ours
            self._cancel()
        self.cancel_on_kill = False
        self.log.info("Joining run %s of dbt Cloud, which somebody else started.", run["id"])
        return run

    def _first_active_run(self) -> dict[str, Any] | None:
        # All others of the job wait for it.
        if not self.reuse_existing_run:
            return None
        return self.hook.get_active_job_run(self.job_id, self.account_id, order_by="id")

    def _start(self, cause: str, starts_left: int = STARTS) -> dict[str, Any]:
        after = self.failed_run["id"] if self.failed_run else 0
        # Noted first: whatever happens from here on, a later try looks for the run.
        self._note(STARTING, {"mark": self.mark, "after": after, "at": time.time()})
        try:
            return self._post(cause)
        except AirflowException as error:
            if not may_have_been_done(error):
                raise
            self.log.warning("%s Looking for %s seconds whether a run was started.", error, SECONDS_HIDDEN)
            run = self._look(after, time.time() + SECONDS_HIDDEN)
            if run and run["id"] > after:
                return run
            if starts_left == 1:
                raise
        return self._start(cause, starts_left - 1)

    def _post(self, cause: str) -> dict[str, Any]:
        if self.retry_from_failure and self.failed_run and outcome_of(self.failed_run) == "error":
            try:
                answer = self.hook.retry_job_run(self.failed_run["id"], self.account_id)
                return self.hook.runs_in(answer)[0]
            except DbtCloudRefused as error:
                if may_have_been_done(error):
                    raise
                self.log.warning("Starting afresh, for a retry from the failure is refused: %s", error)
        answer = self.hook.trigger_job_run(
            account_id=self.account_id,
            job_id=self.job_id,
            cause=cause,
            steps_override=self.steps_override,
            schema_override=self.schema_override,
            additional_run_config=self.additional_run_config | {"cause": cause},
        )
        return self.hook.runs_in(answer)[0]

    def _look(self, after: int, until: float) -> dict[str, Any] | None:
        """Return the newest run with our mark; until a time, wait for one that is newer than a run."""
        query = {"job_definition_id": self.job_id, "order_by": "-id", "include_related": '["trigger"]'}
        while True:
            run = newest_own_run(self.hook.runs_in(self.hook.get_job_runs(self.account_id, query)), self.mark)
            if (run and run["id"] > after) or time.time() >= until:
                return run
            time.sleep(self.check_interval)

    def _cancel(self) -> None:
        self.cancelled_run = self.run_id
        # In a thread: the signal to end may have come while Airflow's own request holds a lock.
        noting = Thread(target=self._note, args=(CANCELLED, self.run_id), daemon=True)
        noting.start()
        try:
            self.hook.cancel_job_run(self.run_id, self.account_id)
            self.log.info("Cancelled run %s of dbt Cloud.", self.run_id)
        except Exception as error:
            self.log.warning("Run %s of dbt Cloud could not be cancelled: %s", self.run_id, error)
        noting.join(1)

    def _has_cancelled(self, run_id: int) -> bool:
        return run_id in (self.cancelled_run, self._recall(CANCELLED))

    def _seen_once_more(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return another event where the run has ended after all, for its verdict is dbt Cloud's."""
        try:
            run = self.hook.runs_in(self.hook.get_job_run(self.run_id, self.account_id))[0]
        except AirflowException as error:
            self.log.warning("%s", error)
            return event
        outcome = outcome_of(run)
        if outcome is None or (outcome == "cancelled" and self._has_cancelled(self.run_id)):
            return event
        message = f"Run {self.run_id} of dbt Cloud ended just then: {run['status_humanized']}."
        return event | {"status": outcome, "message": message}

    def _publish_results(self, context: Context, succeeded: bool) -> None:
        if not succeeded:
            self.hook.log_job_run_failure_details(self.run_id, self.account_id)
        results = read_run_results(self.hook, self.run_id, self.account_id)
        self.log.info("Run %s of dbt Cloud: %s", self.run_id, table_of(results))
        context["ti"].xcom_push(key="run_results", value=results)
        for outlet in self.outlets if succeeded else ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = results

    def _note(self, key: str, value: Any) -> None:
        if self.state is not None:
            self.state.set(key, value)

    def _recall(self, key: str) -> Any:
        return None if self.state is None else self.state.get(key)
