"""Exceptions of this package: how a request to dbt Cloud can fail, and how a run can end other than well."""

import json
import os
import re
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from requests import Response, Timeout
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

# After these dbt Cloud certainly did not see the request. A refused connection is a ConnectTimeoutError too.
NEVER_SENT = (ConnectTimeoutError, ssl.SSLCertVerificationError)


class DbtCloudRequestError(AirflowException):
    """A request to dbt Cloud failed.

    ``outcome_unknown`` tells whether dbt Cloud may have acted on it, ``retryable`` whether the same request
    may succeed later.
    """

    outcome_unknown = retryable = True


class DbtCloudResponseError(DbtCloudRequestError):
    """dbt Cloud answered with an error status, ``status_code``, and may have asked for a pause in seconds."""

    # AirflowException defines another HTTP status.
    status_code: int  # type: ignore[assignment]

    def __init__(self, message: str, status_code: int, retry_after: float = 0) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after
        self.outcome_unknown = status_code == 408 or status_code >= 500
        # With 429 dbt Cloud says that it did not act.
        self.retryable = status_code == 429 or self.outcome_unknown


class DbtCloudConnectionError(DbtCloudRequestError):
    """No answer of dbt Cloud arrived."""


class DbtCloudJobRunFailed(DbtCloudJobRunException):
    """dbt failed. A retry of the task starts another run, or continues from the point of failure."""


class DbtCloudJobRunRejected(DbtCloudJobRunFailed, AirflowFailException):
    """dbt did not accept a command line of the job. Not retried: the next run would fail alike."""


class DbtCloudJobRunCancelled(DbtCloudJobRunException, AirflowFailException):
    """A user canceled the run in dbt Cloud. Not retried: that would override a deliberate decision."""


class DbtCloudJobRunNotSucceeded(DbtCloudJobRunException, AirflowFailException):
    """The run that a sensor waits for did not succeed. Not retried: the run has ended."""


class DbtCloudJobRunTimedOut(DbtCloudJobRunException):
    """The run exceeded the time limit of its job or of the task."""


class DbtCloudJobRunUnreachable(DbtCloudJobRunException):
    """The run could not be polled for longer than the outage tolerance. It may still be active."""


# By the status of the trigger's event: "expired" is the job's time limit, the next two are the task's.
RUN_ERRORS = {
    "error": DbtCloudJobRunFailed,
    "cancelled": DbtCloudJobRunCancelled,
    "expired": DbtCloudJobRunTimedOut,
    "timeout": DbtCloudJobRunTimedOut,
    "wait_timeout": DbtCloudJobRunTimedOut,
    "unreachable": DbtCloudJobRunUnreachable,
}


def parse_id(value: int | str, kind: str) -> int:
    """Return the id of an account, a job or a run as an int, or raise AirflowException."""
    if not str(value).strip().isdecimal():
        raise AirflowException(
            f"The dbt Cloud {kind} id {value!r} is not a number: "
            f"copy it from the {kind}'s address in dbt Cloud, .../{kind}s/<number>."
        )
    return int(value)


def check_connection(conn: Connection, conn_id: str) -> Connection:
    """Return a dbt Cloud connection, or raise AirflowException with what to change in it."""
    if conn.host and not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:]+\])(:\d+)?", conn.host):
        # Not repeated: it may hold a password.
        problem = "has an invalid host: write the name alone, such as ab123.us1.dbt.com"
    elif conn.port not in (None, 443):
        problem = f"has a separate port, which is not used: append it to the host, host:{conn.port}"
    elif conn.login and not conn.login.isdecimal():
        # It may be the token, which Airflow masks only in the password: do not repeat it.
        problem = "has an account id that is not a number: set its login to the one in your account's address"
    elif not conn.password:
        problem = "has no API token: set its password to a token of dbt Cloud"
    elif not re.fullmatch("[!-~]+", conn.password):
        problem = "has an API token with a blank or a line break in it: copy it again"
    else:
        return conn
    raise AirflowException(f"The connection {conn_id!r} {problem}.")


def check_environment_variable(conn_id: str) -> None:
    """Raise AirflowException if the connection's environment variable is incomplete JSON.

    Airflow would use the connection of this name in its database instead, which may be another account.
    """
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(name, "").strip()
    if text.startswith("{"):
        try:
            json.loads(text)
        except ValueError:
            # Not chained: the cause holds the text, with the token.
            raise AirflowException(
                f"The environment variable {name} is not valid JSON: write it on one line. In .env, Docker "
                "cuts it at a blank followed by #, and replaces $: write \\u0023 and \\u0024 instead."
            ) from None


def error_from_response(response: Response, conn_id: str) -> DbtCloudResponseError:
    """Return the exception for an error status, with a message that says what to do."""
    code, path = response.status_code, response.request.path_url
    account = re.search(r"/accounts/(\d+)", path)
    of_account = f"account {account[1]}" if account else "the account"
    resource = re.search(r"/(job|run)s/(\d+)(?!.*/artifacts)", path)
    if code == 401:
        message = (
            f"dbt Cloud rejected the API token of the connection {conn_id!r} (401): set its password to a "
            f"valid token of {of_account}."
        )
    elif code == 403:
        message = (
            f"The API token of the connection {conn_id!r} has no access to {of_account} or no permission for "
            "this (403): set its login to the token's account, or use another token."
        )
    elif code == 404 and resource:
        message = (
            f"dbt Cloud has no {resource[1]} {resource[2]} in {of_account} (404): check the {resource[1]} "
            "id, and that the API token may see it."
        )
    else:
        try:
            reason = f": {response.json()['status']['user_message']}"
        except (ValueError, KeyError, TypeError):
            reason = "."
        message = f"dbt Cloud answered {code} {response.reason} to {response.request.method} {path}{reason}"
    return DbtCloudResponseError(message, code, parse_retry_after(response.headers.get("Retry-After")))


def parse_retry_after(value: str | None) -> float:
    """Return the seconds in a Retry-After header, which holds them or a date; 0 if it holds neither."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except ValueError:
        return 0.0


def describe_error(error: Exception) -> str:
    """Return why an asynchronous request failed, without what may hold a proxy's password.

    aiohttp names the URL at the end, and repeats a wrong address in a ValueError.
    """
    message = "" if isinstance(error, ValueError) else str(error).partition(", url=")[0]
    return message or type(error).__name__


def unexpected_body(response: Response, conn_id: str) -> DbtCloudConnectionError:
    """Return the exception for a body that is not dbt Cloud's, but that of a proxy or another service."""
    request = response.request
    # Some services answer with the request that they received, and so with the token.
    token = request.headers.get("Authorization", "").removeprefix("Token ")
    body = response.text.replace(token, "***") if token else response.text
    return DbtCloudConnectionError(
        f"Unexpected answer to {request.method} {request.path_url}, not from dbt Cloud: "
        f"{body[:200]!r}. Check the host of the connection {conn_id!r}."
    )


def error_from_exception(
    error: Exception, request: str, host: str, conn_id: str, timeout: float
) -> DbtCloudConnectionError:
    """Return the exception for a request that failed before an answer arrived.

    :param error: Of requests, urllib3 or ssl, or TimeoutError.
    :param request: Method and path.
    :param timeout: Seconds after which the request was given up.
    """
    causes = list(_causes(error))
    untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
    if untrusted:
        message = (
            f"The certificate of {host} is not trusted: check the host of the connection {conn_id!r}. For a "
            "private authority, set REQUESTS_CA_BUNDLE and SSL_CERT_FILE to its file before Airflow starts."
        )
    elif any(isinstance(cause, NameResolutionError) for cause in causes):
        message = f"The host {host} does not exist: set the host of {conn_id!r} to your access URL."
    else:
        timed_out = any(isinstance(cause, TimeoutError | Timeout) for cause in causes)
        within = f" within {timeout:g} seconds" if timed_out else ""
        message = f"dbt Cloud at {host} did not answer {request}{within}: {type(error).__name__}."
    exception = DbtCloudConnectionError(message)
    # An address that cannot be used, of dbt Cloud or of a proxy, is a ValueError to requests and urllib3.
    unusable = isinstance(error, ValueError)
    exception.outcome_unknown = not (unusable or any(isinstance(cause, NEVER_SENT) for cause in causes))
    exception.retryable = not (unusable or untrusted)
    return exception


def _causes(error: object) -> Iterator[BaseException]:
    """Yield an exception of requests and the urllib3 and ssl exceptions that it wraps."""
    while isinstance(error, BaseException):
        yield error
        # MaxRetryError has a reason, ProxyError an original_error; the others pass it as their argument.
        wrapped = getattr(error, "reason", None), getattr(error, "original_error", None), *error.args
        error = next((one for one in wrapped if isinstance(one, BaseException)), None)
