"""Exceptions for failed requests to dbt Cloud, and for runs that did not succeed."""

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

# These mean that dbt Cloud certainly did not receive the request. urllib3 derives NewConnectionError, which
# it raises for a refused connection, from ConnectTimeoutError.
NEVER_SENT = (ConnectTimeoutError, ssl.SSLCertVerificationError)


class DbtCloudRequestError(AirflowException):
    """A request to dbt Cloud failed.

    ``outcome_unknown`` tells whether dbt Cloud may have acted on it, ``retryable`` whether the same request
    may succeed later.
    """

    outcome_unknown = retryable = True


class DbtCloudResponseError(DbtCloudRequestError):
    """dbt Cloud answered with the error status ``status_code``.

    ``retry_after`` is the pause, in seconds, that dbt Cloud asked for; 0 if it asked for none.
    """

    # Declared again, because AirflowException has a status_code of another type.
    status_code: int  # type: ignore[assignment]

    def __init__(self, message: str, status_code: int, retry_after: float = 0) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after
        self.outcome_unknown = status_code == 408 or status_code >= 500
        # A 429 means that dbt Cloud did not act on the request.
        self.retryable = status_code == 429 or self.outcome_unknown


class DbtCloudConnectionError(DbtCloudRequestError):
    """No usable answer from dbt Cloud arrived."""


class DbtCloudJobRunFailed(DbtCloudJobRunException):
    """dbt failed. A retry of the task starts another run, or continues from the point of failure."""


class DbtCloudJobRunRejected(DbtCloudJobRunFailed, AirflowFailException):
    """dbt did not accept a command line of the job. Not retried: the next run would fail the same way."""


class DbtCloudJobRunCancelled(DbtCloudJobRunException, AirflowFailException):
    """A user canceled the run in dbt Cloud. Not retried: that would override a deliberate decision."""


class DbtCloudJobRunNotSucceeded(DbtCloudJobRunException, AirflowFailException):
    """The run that a sensor waits for did not succeed. Not retried: the run has ended."""


class DbtCloudJobRunTimedOut(DbtCloudJobRunException):
    """The run exceeded the time limit of its job or of the task."""


class DbtCloudJobRunUnreachable(DbtCloudJobRunException):
    """The run could not be polled for longer than the outage tolerance. It may still be active."""


# By the status of the trigger's event: "expired" is the time limit of the job, "timeout" and "wait_timeout"
# are those of the task.
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
        # The message does not repeat the host, which may contain a password.
        problem = "has an invalid host: write the name alone, such as ab123.us1.dbt.com"
    elif conn.port not in (None, 443):
        problem = f"has a separate port, which is not used: append it to the host, host:{conn.port}"
    elif conn.login and not conn.login.isdecimal():
        # Nor does it repeat the login, which may be the token: Airflow masks only the password.
        problem = "has an account id that is not a number: set its login to the number in your account's URL"
    elif not conn.password:
        problem = "has no API token: set its password to a token of dbt Cloud"
    elif not re.fullmatch("[!-~]+", conn.password):
        problem = "has an API token with a space or a line break in it: copy it again"
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
                "cuts it at a space followed by #, and replaces $: write \\u0023 and \\u0024 instead."
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
    """Return a Retry-After header, a number or a date, in seconds; 0 if it is neither."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except ValueError:
        return 0.0


def describe_error(error: Exception) -> str:
    """Return why an asynchronous request failed, without text that may contain a proxy's password.

    aiohttp ends a message with the URL, and repeats an invalid address in a ValueError.
    """
    message = "" if isinstance(error, ValueError) else str(error).partition(", url=")[0]
    return message or type(error).__name__


def unexpected_body(response: Response, conn_id: str) -> DbtCloudConnectionError:
    """Return the exception for a response that came from a proxy or another service, not from dbt Cloud."""
    request = response.request
    # Some services echo the request that they received, including the token.
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

    :param error: An exception of requests, urllib3 or ssl, or a TimeoutError.
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
    # requests and urllib3 raise a ValueError for an unusable address of dbt Cloud or of a proxy.
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
