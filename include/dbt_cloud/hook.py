"""The provider's dbt Cloud hook with a time limit, safe retries, and errors that say what to do."""

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import cached_property
from threading import Thread
from typing import Any

import aiohttp
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException
from requests import PreparedRequest, Response, Session
from requests.exceptions import RequestException
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_fixed,
)

from include.dbt_cloud.exceptions import (
    DbtCloudConnectionError,
    DbtCloudRequestError,
    DbtCloudResponseError,
    check_connection,
    check_environment_variable,
    error_from_exception,
    error_from_response,
    parse_id,
    unexpected_body,
)
from include.dbt_cloud.job_run import ACTIVE_STATUSES, JobRun
from include.dbt_cloud.run_tags import downstream_tags

DEFAULT_HOST = "cloud.getdbt.com"
DEFAULT_TIMEOUT = 30
# Seconds for which a failed request is retried. The Retry-After of dbt Cloud may ask for a pause of 300.
RETRY_TIMEOUT = 330
# Seconds after which a triggerer opens a new session with the connection, which may have changed.
SESSION_LIFETIME = 300
# Seconds. Airflow gives a trigger 30 to cancel its run.
CANCEL_TIMEOUT = 20
# The most that dbt Cloud returns in one list.
PAGE_SIZE = 100


class DbtCloudHook(ProviderHook):
    """Interact with dbt Cloud: the provider's hook, with the same arguments and one more.

    A GET is sent again after a dropped connection, a timeout, a 5xx or a 429, whose Retry-After is obeyed. A
    POST is sent again only if dbt Cloud did not act on it: after a 429, or when no connection was made.

    :param dbt_cloud_conn_id: ID of the dbt Cloud connection. Its extra may hold ``proxies``.
    :param timeout_seconds: Seconds to wait for a complete answer. Default: 30.
    :param retry_limit: How many times to send a failed request again. Default: 5.
    :param retry_delay: Seconds before a request is sent again; doubled each time, up to 30. Default: 1.
    :param retry_args: Ignored: with these arguments of tenacity, a POST would be sent again too.
    :param max_requests_per_minute: How many requests a triggerer may send to poll runs. With more than 200
        waiting runs it polls less often instead of sending more. Default: 60.
    :raises DbtCloudResponseError: dbt Cloud answered with an error status.
    :raises DbtCloudConnectionError: No usable answer from dbt Cloud arrived.
    :raises AirflowException: The connection is incomplete or wrong.
    """

    timeout_seconds: int

    def __init__(
        self,
        dbt_cloud_conn_id: str = ProviderHook.default_conn_name,
        timeout_seconds: int | None = None,
        retry_limit: int | None = None,
        retry_delay: float | None = None,
        retry_args: dict[Any, Any] | None = None,
        max_requests_per_minute: int | None = 60,
    ) -> None:
        super().__init__(
            dbt_cloud_conn_id,
            timeout_seconds=timeout_seconds or DEFAULT_TIMEOUT,
            retry_delay=1 if retry_delay is None else retry_delay,
        )
        retry_limit = 5 if retry_limit is None else retry_limit
        self.max_requests_per_minute = max_requests_per_minute or 60
        self.retry_args = {
            "retry": retry_if_exception(self._may_send_again),
            "wait": self._pause,
            "stop": stop_after_attempt(retry_limit + 1) | stop_before_delay(RETRY_TIMEOUT),
            "reraise": True,
        }

    def _may_send_again(self, error: BaseException) -> bool:
        if not isinstance(error, DbtCloudRequestError):
            return False
        return error.retryable and (self.method == "GET" or not error.outcome_unknown)

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_exponential(multiplier=self.retry_delay, max=30)(state)
        return max(backoff, getattr(error, "retry_after", 0))

    def stop_retrying(self) -> None:
        """Send no failed request again from now on: the process is about to end."""
        self.retry_args["stop"] = stop_after_attempt(1)

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Read a connection and validate it. Not for the triggerer's event loop: see ``load_connection``."""
        check_environment_variable(conn_id)
        return check_connection(super().get_connection(conn_id), conn_id)

    async def load_connection(self) -> Connection:
        """Read the connection again, which may have changed, without blocking the event loop."""
        check_environment_variable(self.dbt_cloud_conn_id)
        connection = await get_async_connection(self.dbt_cloud_conn_id)
        self.connection = check_connection(connection, self.dbt_cloud_conn_id)
        return self.connection

    @property
    def host(self) -> str:
        """The host of the connection that was read last."""
        return self.connection.host or DEFAULT_HOST

    @property
    def account_id(self) -> int:
        """The account ID of the connection that was read last; raises AirflowException if it has none."""
        if not self.connection.login:
            raise AirflowException(
                f"The connection {self.dbt_cloud_conn_id!r} has no account id: set its login to the "
                "number in your account's URL."
            )
        return int(self.connection.login)

    @cached_property
    def _session(self) -> Session:
        session = super().get_conn()
        session.proxies = self.connection.extra_dejson.get("proxies") or {}
        return session

    def get_conn(self, *args: Any, **kwargs: Any) -> Session:
        """Return the session of this hook, which keeps its connections open."""
        return self._session

    def run_and_check(
        self, session: Session, prepped_request: PreparedRequest, extra_options: dict[Any, Any]
    ) -> Response:
        """Send a request within the time limit; raise this package's exceptions if it fails."""
        settings: dict[str, Any] = {
            **session.merge_environment_settings(
                prepped_request.url, session.proxies, session.stream, session.verify, session.cert
            ),
            "timeout": self.timeout_seconds,
            # If a redirect failed, it would hide that dbt Cloud acted on the POST.
            "allow_redirects": prepped_request.method == "GET",
        }
        answer: Future[Response] = Future()

        def send() -> None:
            try:
                answer.set_result(session.send(prepped_request, **settings))
            except BaseException as error:
                answer.set_exception(error)

        # In a thread: the timeout of requests limits each read, not the whole answer.
        Thread(target=send, daemon=True).start()
        try:
            response = answer.result(self.timeout_seconds)
        except (RequestException, ValueError, TimeoutError) as error:
            request = f"{prepped_request.method} {prepped_request.path_url.partition('?')[0]}"
            # Use a new session: the thread may still read from this one.
            self.__dict__.pop("_session", None)
            # Not chained: the text of a proxy error can hold the proxy's password.
            raise error_from_exception(
                error, request, self.host, self.dbt_cloud_conn_id, self.timeout_seconds
            ) from None
        self.check_response(response)
        return response

    def check_response(self, response: Response) -> None:
        """Raise DbtCloudResponseError if the status is an error."""
        if response.ok:
            return
        if response.status_code in (401, 403):
            # Read the connection again before the next request: the token may have been changed.
            for name in ("connection", "_session"):
                self.__dict__.pop(name, None)
        raise error_from_response(response, self.dbt_cloud_conn_id)

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open an asynchronous session below ``/api/v2/accounts/`` that keeps its connections open.

        The provider opens a new session for each asynchronous call. SOCKS proxies are not supported.
        """
        connection = await self.load_connection()
        url = f"https://{self.host}"
        # As requests does: the environment's proxy applies where the connection names none.
        proxy = select_proxy(url, connection.extra_dejson.get("proxies") or get_environ_proxies(url))
        async with aiohttp.ClientSession(
            f"{url}/api/v2/accounts/",
            headers={"Authorization": f"Token {connection.password}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
            proxy=proxy and prepend_scheme_if_needed(proxy, "http"),
        ) as session:
            yield session

    def check_job_is_not_running(
        self, job_id: int | str, account_id: int | None = None, context: Mapping[str, Any] | None = None
    ) -> bool:
        """Return whether the job has no active run; log the active run if there is one.

        Sends one request, however long the job's history is. A job that never ran is not running.

        :param job_id: ID of the job, as a number or, as templates render it, in digits.
        :param account_id: ID of the account. Default: the connection's.
        :param context: Context of the checking task. A run that a downstream task started in the same Dag run
            does not count: both tasks were cleared, and the downstream task cancels or replaces its run.
        """
        query = {"order_by": "-id", "limit": PAGE_SIZE, "include_related": '["trigger"]'}
        runs = self._list_active_runs(job_id, account_id, **query)
        own = downstream_tags(context) if runs and context else []
        run = next((run for run in runs if not (own and self.is_started_by(run, own, account_id))), None)
        if run is None:
            self.log.info("Job %s has no active run%s.", job_id, " except this Dag run's own" if runs else "")
            return True
        status = run.status_humanized.lower()
        self.log.info(
            "Job %s has an active run: run %s, %s, created %s. See %s",
            job_id, run.id, status, run.created_at, run.href,
        )  # fmt: skip
        return False

    def get_active_job_run(
        self, job_id: int | str, account_id: int | None = None, order_by: str = "-id"
    ) -> JobRun | None:
        """Return the job's newest run that is queued, starting or running; None if there is none.

        Sends one request, however long the job's history is.

        :param job_id: ID of the job, as a number or, as templates render it, in digits.
        :param account_id: ID of the account. Default: the connection's.
        :param order_by: Set it to ``id`` for the oldest active run instead.
        """
        return next(iter(self._list_active_runs(job_id, account_id, order_by=order_by, limit=1)), None)

    def _list_active_runs(self, job_id: int | str, account_id: int | None, **query: Any) -> list[JobRun]:
        filters = {"job_definition_id": parse_id(job_id, "job"), "status__in": str(list(ACTIVE_STATUSES))}
        response = self.get_job_runs(account_id or self.account_id, filters | query)
        runs = self.parse_runs(response)
        # dbt Cloud lists only active runs here: anything else came from a proxy or another service.
        if any(not run.is_active for run in runs):
            raise unexpected_body(response, self.dbt_cloud_conn_id)
        return runs

    def is_started_by(self, run: JobRun, tags: list[str], account_id: int | None = None) -> bool:
        """Return whether a run, or the run that it retries, has one of several tags in its cause."""
        # A run that retries a failed one has a different cause.
        while not any(tag in run.cause for tag in tags) and run.retrying_run_id:
            try:
                run = self.get_run(run.retrying_run_id, account_id, ["trigger"])
            except DbtCloudResponseError as error:
                if error.status_code != 404:
                    raise
                return False
        return any(tag in run.cause for tag in tags)

    def get_run(self, run_id: int, account_id: int | None = None, related: list[str] | None = None) -> JobRun:
        """Return a run; ``related`` may name ``trigger`` and ``run_steps``."""
        return self.parse_run(self.get_job_run(run_id, account_id or self.account_id, related))

    def list_runs(
        self, job_id: int | None, account_id: int, since: float | None, **filters: Any
    ) -> list[JobRun]:
        """Return runs with their causes: the newest 100, and all others created since a time.

        :param job_id: ID of their job; None for all jobs.
        :param since: Seconds since the epoch; None for all runs.
        :param filters: Further query parameters.
        """
        query = {"job_definition_id": job_id, "order_by": "-id", "include_related": '["trigger"]'}
        runs: list[JobRun] = []
        while True:
            page_query = query | filters | {"limit": PAGE_SIZE, "offset": len(runs)}
            page = self.parse_runs(self.get_job_runs(account_id, page_query))
            runs += page
            if len(page) < PAGE_SIZE or all(run.is_created_before(since) for run in page):
                return runs

    def trigger_run(self, job_id: int, account_id: int, cause: str, **overrides: Any) -> JobRun:
        """Start a run; ``overrides`` are those of ``trigger_job_run``."""
        response = self.trigger_job_run(job_id=job_id, account_id=account_id, cause=cause, **overrides)
        return self.parse_run(response)

    def retry_run(self, run_id: int, account_id: int) -> JobRun:
        """Start a run that continues a failed one, the newest of its job, from the point of failure."""
        self.method = "POST"
        endpoint = f"api/v2/accounts/{account_id}/runs/{run_id}/retry/"
        return self.parse_run(self.run_with_advanced_retry(self.retry_args, endpoint))

    def get_global_connection(self, connection_id: int, account_id: int) -> dict[str, Any]:
        """Return a connection of the account, which environments may share."""
        self.method = "GET"
        endpoint = f"api/v3/accounts/{account_id}/connections/{connection_id}/"
        return self.run_with_advanced_retry(self.retry_args, endpoint).json()["data"]

    def cancel_job_run(self, run_id: int, account_id: int | None = None) -> None:
        """Cancel a run and wait until it has ended, for at most 20 seconds.

        :param run_id: ID of the run.
        :param account_id: ID of the account. Default: the connection's.
        :raises DbtCloudRequestError: dbt Cloud did not confirm that the run has ended.
        """
        # Unlike other POST requests this one can be sent again after any failure.
        retrying = Retrying(
            retry=retry_if_exception(lambda error: getattr(error, "retryable", False)),
            wait=wait_fixed(min(1, self.retry_delay)),
            stop=stop_before_delay(CANCEL_TIMEOUT),
            reraise=True,
        )
        retrying(self._cancel, run_id, account_id or self.account_id)

    def _cancel(self, run_id: int, account_id: int) -> None:
        path = f"api/v2/accounts/{account_id}/runs/{run_id}/"
        run, rejected = None, None
        try:
            self.method = "POST"
            run = self.parse_run(self.run(f"{path}cancel/"))
        except DbtCloudResponseError as error:
            if error.retryable:
                raise
            # The run may have ended just before the request.
            rejected = error
        if run is None or run.outcome is None:
            self.method = "GET"
            run = self.parse_run(self.run(path))
        if run.outcome is None and rejected:
            raise rejected
        if run.outcome is None:
            raise DbtCloudConnectionError(f"dbt Cloud run {run_id} is still active after a cancel request.")

    def test_connection(self) -> tuple[bool, str]:
        """Read the account, which fails with a wrong host, token or account ID."""
        connection = f"The connection {self.dbt_cloud_conn_id!r}"
        try:
            hook = type(self)(self.dbt_cloud_conn_id, timeout_seconds=10, retry_limit=0)
            name = hook.get_account(hook.account_id).json()["data"]["name"]
        except (ValueError, KeyError, TypeError):
            return False, f"{connection} does not lead to dbt Cloud: check its host."
        except AirflowException as error:
            return False, str(error)
        return True, f"Successfully connected to dbt Cloud, account {name!r}."

    def parse_run(self, response: Response) -> JobRun:
        """Return the run in a response; raise DbtCloudConnectionError if it has none."""
        for run in self.parse_runs(response):
            return run
        raise unexpected_body(response, self.dbt_cloud_conn_id)

    def parse_runs(self, response: Response) -> list[JobRun]:
        """Return the runs, or the one, in a response; raise DbtCloudConnectionError if it has none."""
        try:
            data = response.json()["data"]
            return [JobRun.from_api(run) for run in (data if isinstance(data, list) else [data])]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise unexpected_body(response, self.dbt_cloud_conn_id) from None
