"""The provider's dbt Cloud hook with a time limit, safe retries, and errors that say what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Self

import aiohttp
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed
from urllib3.exceptions import ProtocolError, ProxyError
from urllib3.util import Retry

from include.dbt_cloud.exceptions import (
    check_connection,
    error_from_exception,
    error_from_response,
    parse_id,
    unexpected_body,
)
from include.dbt_cloud.job_run import ACTIVE_STATUSES, JobRun

DEFAULT_HOST = "cloud.getdbt.com"
DEFAULT_TIMEOUT = 30
# A GET is sent again after these: dbt Cloud, or a proxy before it, is overloaded or restarting.
TRANSIENT_STATUSES = {429, *range(500, 600)}
# Seconds. Airflow gives a trigger 30 to cancel its run.
CANCEL_TIMEOUT = 20


class _Retry(Retry):
    """Retry any method after a 429, with which dbt Cloud says that it did not act."""

    def increment(  # type: ignore[override]  # the other arguments are passed on as they are
        self, method: Any = None, url: Any = None, *, error: Exception | None = None, **others: Any
    ) -> Self:
        # urllib3 reports a connection dropped inside an established tunnel as a failure to reach the proxy.
        if isinstance(error, ProxyError) and isinstance(error.original_error, ConnectionError):
            error = ProtocolError("Connection aborted.", error.original_error)
        return super().increment(method, url, error=error, **others)

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)


class DbtCloudHook(ProviderHook):
    """Interact with dbt Cloud: the provider's hook, with the same arguments.

    A GET is sent again after a dropped connection, a timeout, a 5xx or a 429, whose Retry-After is obeyed. A
    POST is sent again only if dbt Cloud did not act on it: after a 429, or when no connection was made.

    :param dbt_cloud_conn_id: ID of the dbt Cloud connection. Its extra may hold ``proxies``.
    :param timeout_seconds: Seconds to wait for an answer. Default: 30.
    :param retry_limit: How many times to send a GET again. Default: 5.
    :param retry_delay: Seconds before the second of these; they double from there, up to 30. Default: 1.
    :param retry_args: Not used: tenacity would send a POST again too.
    :raises DbtCloudResponseError: dbt Cloud answered with an error status.
    :raises DbtCloudConnectionError: No answer of dbt Cloud arrived.
    :raises AirflowException: The connection is incomplete or wrong.
    """

    timeout_seconds: int

    def __init__(
        self,
        dbt_cloud_conn_id: str = ProviderHook.default_conn_name,
        timeout_seconds: int | None = None,
        retry_limit: int = 5,
        retry_delay: float = 1.0,
        retry_args: dict[Any, Any] | None = None,
    ) -> None:
        super().__init__(dbt_cloud_conn_id, timeout_seconds=timeout_seconds or DEFAULT_TIMEOUT)
        self.retries = _Retry(
            retry_limit,
            # An untrusted certificate stays untrusted.
            other=0,
            backoff_factor=retry_delay,
            backoff_max=30,
            status_forcelist=TRANSIENT_STATUSES,
            allowed_methods=["GET"],
            raise_on_status=False,
        )

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Read a connection and validate it. Not for the triggerer's event loop: see ``load_connection``."""
        return check_connection(super().get_connection(conn_id), conn_id)

    async def load_connection(self) -> Connection:
        """Read the connection again, which may have changed, without blocking the event loop."""
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
                f"The connection {self.dbt_cloud_conn_id!r} has no account id: set its login to it."
            )
        return int(self.connection.login)

    @cached_property
    def _session(self) -> Session:
        session = super().get_conn()
        session.proxies = self.connection.extra_dejson.get("proxies") or {}
        session.mount("https://", HTTPAdapter(max_retries=self.retries))
        return session

    def get_conn(self, *args: Any, **kwargs: Any) -> Session:
        """Return the session of this hook, which retries and keeps its connections open."""
        return self._session

    def run_and_check(
        self, session: Session, prepped_request: PreparedRequest, extra_options: dict[Any, Any]
    ) -> Response:
        """Send a request within the time limit, and translate what goes wrong into this package's errors."""
        settings = session.merge_environment_settings(
            prepped_request.url, session.proxies, session.stream, session.verify, session.cert
        )
        try:
            # A failing redirect would hide that dbt Cloud acted on the POST.
            response = session.send(
                prepped_request,
                timeout=self.timeout_seconds,
                allow_redirects=prepped_request.method == "GET",
                **settings,
            )
        except RequestException as error:
            request = f"{prepped_request.method} {prepped_request.path_url.partition('?')[0]}"
            # Not chained: the text of a proxy error can hold the proxy's password.
            raise error_from_exception(error, request, self.host, self.dbt_cloud_conn_id) from None
        self.check_response(response)
        return response

    def check_response(self, response: Response) -> None:
        """Raise DbtCloudResponseError if the status is an error."""
        if not response.ok:
            raise error_from_response(response, self.dbt_cloud_conn_id)

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open an asynchronous session below ``/api/v2/accounts/`` that keeps its connections open.

        The provider's asynchronous calls open one each. SOCKS proxies are not supported.
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

    def check_job_is_not_running(self, job_id: int | str, account_id: int | None = None) -> bool:
        """Return whether the job has no active run, and log which one it has.

        A job that never ran is not running. Takes and raises what ``get_active_job_run`` does.
        """
        run = self.get_active_job_run(job_id, account_id)
        if run is None:
            self.log.info("Job %s has no active run.", job_id)
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

        One request for one run, however long the job's history is.

        :param job_id: ID of the job, as a number or, as templates render it, in digits.
        :param account_id: ID of the account. Default: the connection's.
        :param order_by: ``id`` for the oldest of these runs.
        """
        query = {"job_definition_id": parse_id(job_id, "job"), "status__in": str(list(ACTIVE_STATUSES))}
        response = self.get_job_runs(
            account_id or self.account_id, query | {"order_by": order_by, "limit": 1}
        )
        runs = self.parse_runs(response)
        # A proxy or another service can answer too: that must not pass for "no active run".
        if any(not run.is_active for run in runs):
            raise unexpected_body(response, self.dbt_cloud_conn_id)
        return runs[0] if runs else None

    def get_run(self, run_id: int, account_id: int | None = None, related: list[str] | None = None) -> JobRun:
        """Return a run; ``related`` may name ``trigger`` and ``run_steps``."""
        return self.parse_run(self.get_job_run(run_id, account_id or self.account_id, related))

    def list_newest_runs(self, job_id: int, account_id: int) -> list[JobRun]:
        """Return the newest 100 runs of a job with their causes, newest first."""
        query = {"job_definition_id": job_id, "order_by": "-id", "include_related": '["trigger"]'}
        return self.parse_runs(self.get_job_runs(account_id, query))

    def trigger_run(self, job_id: int, account_id: int, cause: str, **overrides: Any) -> JobRun:
        """Start a run; ``overrides`` are those of ``trigger_job_run``."""
        response = self.trigger_job_run(job_id=job_id, account_id=account_id, cause=cause, **overrides)
        return self.parse_run(response)

    def retry_run(self, run_id: int, account_id: int) -> JobRun:
        """Start a run that continues from the point where a run failed, if that is its job's newest one."""
        self.method = "POST"
        return self.parse_run(self.run(f"api/v2/accounts/{account_id}/runs/{run_id}/retry/"))

    def cancel_job_run(self, run_id: int, account_id: int | None = None) -> None:
        """Cancel a run. Unlike other POST requests it is sent again after a failure: it is idempotent.

        :param run_id: ID of the run.
        :param account_id: ID of the account. Default: the connection's.
        """
        retrying = Retrying(
            retry=retry_if_exception(lambda error: getattr(error, "retryable", False)),
            wait=wait_fixed(min(1, self.retries.backoff_factor)),
            stop=stop_after_delay(CANCEL_TIMEOUT),
            reraise=True,
        )
        retrying(self._cancel, run_id, account_id or self.account_id)

    def _cancel(self, run_id: int, account_id: int) -> None:
        self.method = "POST"
        self.parse_run(self.run(f"api/v2/accounts/{account_id}/runs/{run_id}/cancel/"))

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the account: fails with a wrong host, token or account ID."""
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
