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
from requests import Response

from include.dbt_cloud.errors import (
    RUN_ERRORS,
    DbtCloudJobRunCancelled,
    DbtCloudJobRunLost,
    DbtCloudRefused,
    DbtCloudRequestError,
    number,
)
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.own_runs import cause_with, mark_of, newest_own_run
from include.dbt_cloud.results import first_failed, read_run_results, table_of
from include.dbt_cloud.trigger import DbtCloudRunJobTrigger, end_of, outcome_of

# How often to start a run while no answer arrives and no run is to be seen.
STARTS = 3
# For so long dbt Cloud may hide a run that it has just started.
SECONDS_HIDDEN = 60
# The key in task_state_store of what later tries must know: the last start with its mark, and the run that
# the task itself cancelled.
NOTE = "dbt_cloud_run"


class DbtCloudRunJobOperator(ProviderOperator):
    """Execute a dbt Cloud job: the provider's operator, with the same arguments and one more.

    Every run carries the mark of its task instance in its cause. A later try, or one whose request to start a
    run got no answer, looks for the run with its mark before it starts another: it waits for an active one,
    takes one that succeeded as its own, and goes on from one that failed (``retry_from_failure``) or starts
    afresh. A task that was cleared cancels what it left behind and starts anew. With ``reuse_existing_run``
    it joins an active run of somebody else instead of queueing behind it; what it joined it never cancels.

    :param check_interval: Seconds between two requests; each asks after all runs that tasks wait for.
    :param patience: For how many seconds to wait for a run that is out of sight, also in a worker for that of
        an earlier try.
    :raises DbtCloudJobRunFailed: dbt failed.
    :raises DbtCloudJobRunCancelled: Somebody cancelled the run; the task is not retried.
    :raises DbtCloudJobRunTimedOut: ``timeout`` passed, or ``execution_timeout``: then the run is cancelled.
    :raises DbtCloudJobRunLost: The run was out of sight for too long, and may go on.
    """

    def __init__(self, *, check_interval: int = 5, patience: float = 1800, **kwargs: Any) -> None:
        super().__init__(check_interval=check_interval, **kwargs)
        self.patience = patience
        self.cancel_on_kill = True
        self.killed = False
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
        self.account_id = number(self.account_id or self.hook._resolve_account_id(), "account")
        self.job_id = number(self._resolve_job_id(), "job")
        run = self._earlier_run(ti) or self._start_or_join(ti)
        self.run_id = run["id"]
        if self.killed and self.cancel_on_kill:
            self._cancel(self.run_id)
            raise DbtCloudJobRunException(f"The task was killed while it started run {run['id']}.")
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
            raise DbtCloudJobRunLost(f"Not known how the run goes on: the trigger said {event!r}.")
        self.run_id, self.state = event["run_id"], context.get("task_state_store")
        status, message, is_own = event["status"], event["message"], event.get("cancel", True)
        if status == "timeout" and is_own:
            message += "" if self._cancel(self.run_id) else " It could not be cancelled: cancel it there."
        # From here on there is nothing left to cancel.
        self.cancel_on_kill = False
        try:
            answer = self.hook.get_job_run(self.run_id, self.account_id or None, ["run_steps"])
            run = self.hook.runs_in(answer)[0]
            outcome = outcome_of(run)
            # It may have ended after all, just then, or while nothing was seen of it: that is the verdict.
            if outcome and status != "success" and not (outcome == "cancelled" and status == "timeout"):
                status, message = outcome, end_of(run)
            failed = outcome and self._publish_results(context, run)
            if failed and status == "error":
                message += f" First: {failed['unique_id']}: {failed['message']}"
        except (Exception, AirflowTaskTimeout) as error:
            # What became of the run matters more.
            self.log.warning("The results of run %s cannot be shown: %s", self.run_id, error)
        if status == "success":
            self.log.info(message)
            return self.run_id
        if status == "cancelled" and not is_own:
            raise DbtCloudJobRunException(f"{message} Somebody else had started it; a retry starts another.")
        if status == "cancelled" and self._has_cancelled(self.run_id):
            raise DbtCloudJobRunException(f"{message} This task itself had asked for that.")
        raise RUN_ERRORS[status](message)

    def on_kill(self) -> None:
        """Cancel the run of a task that is killed while it holds a worker."""
        self.killed = True
        if self.run_id and self.cancel_on_kill:
            self._cancel(self.run_id)

    def _earlier_run(self, ti: Any) -> dict[str, Any] | None:
        """Return the run that an earlier try started, if this one can take it over."""
        # What an earlier try ended with: the next run is newer, and goes on from it if it failed.
        note, self.ended_run = self._recall(), None
        # Without a note, where Airflow keeps none, the mark alone tells.
        if ti.try_number == 1 or (self.state and not note.get("mark")):
            return None
        mark = note.get("mark") or self.mark
        visible_by = note.get("at", 0) + self.hook.timeout_seconds + SECONDS_HIDDEN
        run = self._look(mark, note.get("after", 0), visible_by)
        if run is None:
            return None
        outcome = outcome_of(run)
        if mark == self.mark:
            if outcome in (None, "success"):
                self.log.info("An earlier try of this task started run %s of dbt Cloud.", run["id"])
                return run
            if outcome == "cancelled" and not self._has_cancelled(run["id"]):
                raise DbtCloudJobRunCancelled(f"{end_of(run)} An earlier try of this task had started it.")
        elif outcome is None and not self._cancel(run["id"]):
            # Somebody cleared the task: what it has left behind ends before another begins.
            raise DbtCloudJobRunException(
                f"Run {run['id']} of dbt Cloud could not be cancelled, and may go on: see {run['href']}"
            )
        if mark == self.mark or outcome == "error":
            self.ended_run = run
        return None

    def _start_or_join(self, ti: Any) -> dict[str, Any]:
        """Start a run; with ``reuse_existing_run`` join the first active one, also if it came between."""
        run = self._first_active_run() if self.reuse_existing_run else None
        if run is None:
            reason = self.additional_run_config.get("cause") or self.trigger_reason
            if self.openlineage_inject_parent_job_info:
                reason = inject_parent_job_information_into_dbt_cloud_cause(reason, ti)
            ours = self._start(cause_with(self.mark, reason or "Triggered via Apache Airflow"))
            self.run_id = ours["id"]
            try:
                run = self._first_active_run() if self.reuse_existing_run else None
            except AirflowException as error:
                self.log.warning("Whether others started the job too is not known: %s", error)
            if run is None or run["id"] >= ours["id"] or not self._cancel(ours["id"]):
                return ours
        self.cancel_on_kill = False
        self.log.info("Joining run %s of dbt Cloud, which somebody else started.", run["id"])
        return run

    def _first_active_run(self) -> dict[str, Any] | None:
        # The oldest: dbt Cloud runs it first.
        run = self.hook.get_active_job_run(self.job_id, self.account_id, order_by="id")
        return None if run and run["id"] == self.cancelled_run else run

    def _start(self, cause: str) -> dict[str, Any]:
        after = self.ended_run["id"] if self.ended_run else 0
        earlier = {"mark": "", "after": 0, "at": 0} | self._recall()
        for _ in range(STARTS):
            # Noted first: whatever happens from here on, a later try looks for the run.
            self._note(mark=self.mark, after=after, at=time.time())
            try:
                return self.hook.runs_in(self._post(cause))[0]
            except AirflowException as failure:
                if not getattr(failure, "may_have_been_done", False):
                    # So there is nothing that a later try could look for.
                    self._note(**earlier)
                    raise
                error, earlier = failure, self._recall()
            self.log.warning("%s Looking for %s seconds whether a run was started.", error, SECONDS_HIDDEN)
            run = self._look(self.mark, after, time.time() + SECONDS_HIDDEN)
            if run and run["id"] > after:
                return run
        raise error

    def _post(self, cause: str) -> Response:
        if self.retry_from_failure and self.ended_run and outcome_of(self.ended_run) == "error":
            try:
                return self.hook.retry_job_run(self.ended_run["id"], self.account_id)
            except DbtCloudRefused as error:
                if error.may_have_been_done:
                    raise
                self.log.warning("Starting afresh, for a retry from the failure is refused: %s", error)
        return self.hook.trigger_job_run(
            account_id=self.account_id,
            job_id=self.job_id,
            cause=cause,
            steps_override=self.steps_override,
            schema_override=self.schema_override,
            additional_run_config=self.additional_run_config | {"cause": cause},
        )

    def _look(self, mark: str, after: int, until: float) -> dict[str, Any] | None:
        """Return the newest run with a mark; until a time, wait for one that is newer than a run.

        While dbt Cloud cannot say, be as patient as with a run that is out of sight.
        """
        give_up = max(until, time.time() + self.patience)
        query = {"job_definition_id": self.job_id, "order_by": "-id", "include_related": '["trigger"]'}
        while True:
            try:
                runs = self.hook.runs_in(self.hook.get_job_runs(self.account_id, query))
                run = newest_own_run(runs, mark, after)
                if (run and run["id"] > after) or time.time() >= until:
                    return run
            except DbtCloudRequestError as error:
                if not error.may_pass or time.time() >= give_up:
                    raise
                self.log.warning("Not known which runs were started: %s", error)
            time.sleep(min(self.check_interval, 5))

    def _cancel(self, run_id: int) -> bool:
        """Cancel a run, and note that it was us; return whether dbt Cloud has heard it."""
        self.cancelled_run = run_id
        # In a thread: the signal to end may have come while Airflow's own request holds a lock.
        noting = Thread(target=self._note, kwargs={"cancelled": run_id}, daemon=True)
        noting.start()
        try:
            self.hook.cancel_job_run(run_id, self.account_id or None)
            self.log.info("Cancelled run %s of dbt Cloud.", run_id)
        except Exception as error:
            self.log.warning("Run %s of dbt Cloud could not be cancelled: %s", run_id, error)
            return False
        finally:
            noting.join(1)
        return True

    def _has_cancelled(self, run_id: int) -> bool:
        return run_id in (self.cancelled_run, self._recall().get("cancelled"))

    def _publish_results(self, context: Context, run: dict[str, Any]) -> dict[str, Any] | None:
        """Log and push what became of the nodes; return the one to look at first if the run failed."""
        succeeded, failed = outcome_of(run) == "success", None
        try:
            results = read_run_results(self.hook, run)
            failed = first_failed(results)
        finally:
            if not (succeeded or failed):
                # It failed before dbt came to a node, or after, or its nodes cannot be read.
                self.hook.log_job_run_failure_details(run["id"], job_run=run)
        self.log.info("Run %s of dbt Cloud: %s", run["id"], table_of(results))
        context["ti"].xcom_push(key="run_results", value=results)
        for outlet in self.outlets if succeeded else ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = results
        return failed

    def _note(self, **facts: Any) -> None:
        if self.state is not None:
            self.state.set(NOTE, self._recall() | facts)

    def _recall(self) -> dict[str, Any]:
        return (self.state.get(NOTE) if self.state is not None else None) or {}
