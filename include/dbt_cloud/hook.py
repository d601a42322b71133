"""The provider's hook, with a time limit, retries that double no run, and errors that are a sentence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import aiohttp
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunStatus
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException
from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed
from urllib3.util import Retry

from include.dbt_cloud.errors import check_connection, not_answered, not_understood, number, refused

ACTIVE = list(DbtCloudJobRunStatus.NON_TERMINAL_STATUSES.value)

# After these the same GET may succeed: dbt Cloud, or a proxy before it, is busy, restarts or limits us.
TRANSIENT = {429, *range(500, 600)}
# Airflow gives a trigger 30 seconds to cancel its run.
SECONDS_TO_CANCEL = 20


class _Retry(Retry):
    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)


class DbtCloudHook(ProviderHook):
    """Interact with dbt Cloud: the provider's hook, with the same arguments.

    A GET is sent again after a dropped connection, a timeout, a 5xx or a 429, whose Retry-After is obeyed. A
    POST is sent again after a 429, or if it could not leave: otherwise it may have been acted on.

    :param dbt_cloud_conn_id: The ID of the dbt Cloud connection. Its extra may hold ``proxies``.
    :param timeout_seconds: Seconds to wait for an answer, 30 by default.
    :param retry_limit: How many times to send a GET again.
    :param retry_delay: Seconds before the second of these times; they double from there, up to 30.
    :param retry_args: Not used: tenacity would send a POST again too.
    :raises DbtCloudRefused: dbt Cloud answered with an error.
    :raises DbtCloudNoAnswer: No answer came.
    :raises AirflowException: The connection cannot be right.
    """

    def __init__(
        self,
        dbt_cloud_conn_id: str = ProviderHook.default_conn_name,
        timeout_seconds: int | None = None,
        retry_limit: int = 5,
        retry_delay: float = 1.0,
        retry_args: dict[Any, Any] | None = None,
    ) -> None:
        super().__init__(dbt_cloud_conn_id, timeout_seconds=timeout_seconds or 30)
        self.retries = _Retry(
            retry_limit,
            # An untrusted certificate stays so.
            other=0,
            backoff_factor=retry_delay,
            backoff_max=30,
            status_forcelist=TRANSIENT,
            allowed_methods=["GET"],
            raise_on_status=False,
        )

    def get_conn(self, headers: Any = None, extra_options: dict[str, Any] | None = None) -> Session:
        """Return a session that retries and keeps its connection, with the time limit and the proxies."""
        # HttpHook takes the time limit from here; the provider's get_conn never fills it.
        self.merged_extra = extra_options or {}
        self._kept_session.proxies = self.merged_extra.get("proxies", {})
        return self._kept_session

    @cached_property
    def _kept_session(self) -> Session:
        session = super().get_conn()
        session.mount("https://", HTTPAdapter(max_retries=self.retries))
        return session

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open an asynchronous session below ``/api/v2/accounts/``, which keeps its connections.

        Unlike the provider's asynchronous calls, each of which opens a connection of its own. It cannot use a
        SOCKS proxy.
        """
        # Read anew: it may have been changed since it was read last.
        self.__dict__.pop("connection", None)
        headers, tenant = await self.get_headers_tenants_from_connection()
        proxies = self._get_proxies(await self._resolve_connection_async())
        # Where the connection names none, the environment may, as for requests.
        proxy = select_proxy(f"https://{tenant}", proxies or get_environ_proxies(f"https://{tenant}"))
        async with aiohttp.ClientSession(
            f"https://{tenant}/api/v2/accounts/",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
            proxy=proxy and prepend_scheme_if_needed(proxy, "http"),
        ) as session:
            yield session

    def cancel_job_run(self, run_id: int, account_id: int | None = None) -> None:
        """Cancel a run. Unlike any other POST this one may be sent again: to cancel twice is to cancel.

        :param run_id: The ID of a dbt Cloud job run.
        :param account_id: Optional. The ID of a dbt Cloud account.
        """
        patiently = Retrying(
            retry=retry_if_exception(lambda error: getattr(error, "may_pass", False)),
            wait=wait_fixed(min(1, self.retries.backoff_factor)),
            stop=stop_after_delay(SECONDS_TO_CANCEL),
            reraise=True,
        )
        patiently(super().cancel_job_run, run_id, account_id)

    def check_response(self, response: Response) -> None:
        """Raise DbtCloudRefused, with a sentence that says what to do, if the answer is an error."""
        if not response.ok:
            raise refused(response, self.dbt_cloud_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the account, which a wrong host, token or account id does not survive."""
        connection = f"The connection {self.dbt_cloud_conn_id!r}"
        try:
            hook = type(self)(self.dbt_cloud_conn_id, timeout_seconds=10, retry_limit=0)
            name = hook.get_account().json()["data"]["name"]
        except (ValueError, KeyError, TypeError):
            return False, f"{connection} leads to something that is not dbt Cloud: check its host."
        except AirflowException as error:
            return False, str(error)
        return True, f"Successfully connected to dbt Cloud, account {name!r}."

    def check_job_is_not_running(self, job_id: int | str, account_id: int | None = None) -> bool:
        """Return whether no run of the job is active; if one is, log which, since when and where to see it.

        A job that never ran is not running. Takes and raises what ``get_active_job_run`` does.
        """
        run = self.get_active_job_run(job_id, account_id)
        if run is None:
            self.log.info("Job %s has no active run.", job_id)
            return True
        which = f"run {run['id']}, {run['status_humanized'].lower()}, created {run['created_at']}"
        self.log.info("Job %s has an active run: %s. See it at %s", job_id, which, run["href"])
        return False

    def get_active_job_run(
        self, job_id: int | str, account_id: int | None = None, order_by: str = "-id"
    ) -> dict[str, Any] | None:
        """Return the job's newest run that is queued, starting or running; None if there is none.

        One request for one run, however long the job's history is.

        :param job_id: The ID of a dbt Cloud job, as a number or, as templates render it, in digits.
        :param account_id: Optional. The ID of a dbt Cloud account, by default the connection's.
        :param order_by: ``id`` for the oldest of these runs instead.
        :return: The run as dbt Cloud's API writes it: ``id``, ``status``, ``created_at``, ``href``...
        """
        query = {"job_definition_id": number(job_id, "job"), "status__in": str(ACTIVE)}
        response = self.get_job_runs(account_id, query | {"order_by": order_by, "limit": 1})
        runs = self.runs_in(response)
        # A proxy or another service can answer too: what it says must not pass for "no run is active".
        if any(run["status"] not in ACTIVE for run in runs):
            raise not_understood(response, self.dbt_cloud_conn_id)
        return runs[0] if runs else None

    def retry_job_run(self, run_id: int, account_id: int | None = None) -> Response:
        """Start a run that goes on from the point where a run failed, if that is its job's newest one."""
        account_id = account_id or self._resolve_account_id()
        return self._run_and_get_response(method="POST", endpoint=f"{account_id}/runs/{run_id}/retry/")

    def runs_in(self, response: Response) -> list[dict[str, Any]]:
        """Return the runs, or the one, in an answer; raise DbtCloudNoAnswer if it is not dbt Cloud's."""
        try:
            data = response.json()["data"]
            runs = data if isinstance(data, list) else [data]
            if all(isinstance(run["id"], int) and isinstance(run["status"], int) for run in runs):
                return runs
        except (ValueError, KeyError, TypeError):
            pass
        raise not_understood(response, self.dbt_cloud_conn_id)

    def _run_and_get_response(self, *, method: str = "GET", endpoint: str | None = None, **more: Any) -> Any:
        try:
            return super()._run_and_get_response(method=method, endpoint=endpoint, **more)
        except RequestException as error:
            host = self._get_tenant_domain(self.connection)
            raise not_answered(f"{method} {endpoint}", error, host, self.dbt_cloud_conn_id) from error

    def _resolve_account_id(self) -> int:
        if not self.connection.login:
            raise AirflowException(
                f"The connection {self.dbt_cloud_conn_id!r} has no account id: set its login to it."
            )
        return int(self.connection.login)

    def _require_password(self, conn: Connection) -> Connection:
        # Whoever reads the connection, in synchronous and asynchronous code, passes here.
        check_connection(conn, self.dbt_cloud_conn_id)
        return conn
