"""How a dbt Cloud run can end badly, and how a request can: a class and a sentence for each."""

import re

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from requests import RequestException, Response


class DbtCloudRequestError(AirflowException):
    """A request failed. It may have been acted on all the same, and may succeed later, or not."""

    may_have_been_done = may_pass = True


class DbtCloudRefused(DbtCloudRequestError):
    """dbt Cloud answered, and the answer is no; ``status_code`` is that of the answer."""

    def __init__(self, sentence: str, status_code: int) -> None:
        super().__init__(sentence)
        self.status_code = status_code
        self.may_have_been_done = status_code == 408 or status_code >= 500
        # With 429 dbt Cloud says that it did nothing, this time.
        self.may_pass = status_code == 429 or self.may_have_been_done


class DbtCloudNoAnswer(DbtCloudRequestError):
    """No answer of dbt Cloud arrived."""


def number(value: int | str, kind: str) -> int:
    """Return the id of an account, a job or a run as a number; raise AirflowException if it is none."""
    if not str(value).strip().isdecimal():
        raise AirflowException(
            f"The dbt Cloud {kind} id is {value!r}, which is not a number: "
            f"take it from the {kind}'s address in dbt Cloud, .../{kind}s/<number>."
        )
    return int(value)


def check_connection(conn: Connection, conn_id: str) -> None:
    """Raise AirflowException, with what to write instead, if a connection cannot be right."""
    if "/" in (conn.host or ""):
        problem = f"has the host {conn.host!r}: write the name alone, such as ab123.us1.dbt.com"
    elif conn.port not in (None, 443):
        problem = f"has a port of its own, which is not used: write it behind the host, host:{conn.port}"
    elif conn.login and not conn.login.isdecimal():
        # It may be the token: Airflow masks that only where it belongs.
        problem = "has an account id that is not a number: set its login to the one in your account's address"
    elif not conn.password:
        problem = "has no API token: set its password to a service token of dbt Cloud"
    elif not re.fullmatch("[!-~]+", conn.password):
        problem = "has an API token with a blank or a line break in it: copy it again"
    else:
        return
    raise AirflowException(f"The connection {conn_id!r} {problem}.")


def refused(response: Response, conn_id: str) -> DbtCloudRefused:
    """Return the error for an answer that is one."""
    code, path = response.status_code, response.request.path_url
    account = re.search(r"/accounts/(\d+)", path)
    of_account = f"account {account[1]}" if account else "the account"
    what = re.search(r"/(job|run)s/(\d+)(?!.*/artifacts)", path)
    if code == 401:
        sentence = (
            f"dbt Cloud refuses the API token of the connection {conn_id!r} (401): set its password to a "
            f"service token of {of_account}."
        )
    elif code == 403:
        sentence = (
            f"The API token of the connection {conn_id!r} is not one of {of_account}, or may not do this "
            "(403): set its login to the token's account, or use another token."
        )
    elif code == 404 and what:
        sentence = (
            f"dbt Cloud knows no {what[1]} {what[2]} in {of_account} (404): check the {what[1]} id, and that "
            "the API token may see it."
        )
    else:
        try:
            why = f": {response.json()['status']['user_message']}"
        except (ValueError, KeyError, TypeError):
            why = "."
        sentence = f"dbt Cloud answered {code} {response.reason} to {response.request.method} {path}{why}"
    return DbtCloudRefused(sentence, code)


def not_understood(response: Response, conn_id: str) -> DbtCloudNoAnswer:
    """Return the error for an answer that is not dbt Cloud's, but a proxy's or another service's."""
    request = response.request
    return DbtCloudNoAnswer(
        f"Asked {request.method} {request.path_url}, dbt Cloud answered something else: "
        f"{response.text[:200]!r}. Check the host of the connection {conn_id!r}."
    )


def not_answered(request: str, error: RequestException, host: str, conn_id: str) -> DbtCloudNoAnswer:
    """Return the error for a request that failed before an answer arrived."""
    cause = repr(error)
    if "CERTIFICATE_VERIFY_FAILED" in cause:
        sentence = (
            f"The certificate of {host} is not trusted: check the host of the connection {conn_id!r}; for an "
            "authority of your own, set REQUESTS_CA_BUNDLE and SSL_CERT_FILE to its file before Airflow "
            "starts."
        )
    elif "NameResolutionError" in cause:
        sentence = f"There is no host {host}: set the host of {conn_id!r} to your access URL."
    else:
        limit = re.search(r"read timeout=(\d+)", str(error))
        within = f" within {limit[1]} seconds" if limit else ""
        sentence = f"dbt Cloud at {host} did not answer {request}{within}: {type(error).__name__}."
    no_answer = DbtCloudNoAnswer(sentence)
    never_sent = "CERTIFICATE_VERIFY_FAILED|NameResolutionError|NewConnectionError|ConnectTimeout"
    no_answer.may_have_been_done = not re.search(never_sent, cause)
    # A wrong address, be it of a proxy, and an untrusted certificate stay so.
    no_answer.may_pass = not (isinstance(error, ValueError) or "CERTIFICATE_VERIFY_FAILED" in cause)
    return no_answer


class DbtCloudJobRunFailed(DbtCloudJobRunException):
    """dbt failed. A retry of the task starts another run, or goes on from the point of failure."""


class DbtCloudJobRunCancelled(DbtCloudJobRunException, AirflowFailException):
    """Somebody cancelled the run in dbt Cloud: the task fails at once, for a retry would defy that person."""


class DbtCloudJobRunNotSucceeded(DbtCloudJobRunException, AirflowFailException):
    """The run that a sensor waits for ended badly: the task fails at once, to look again is no use."""


class DbtCloudJobRunTimedOut(DbtCloudJobRunException):
    """The run took longer than it may."""


class DbtCloudJobRunLost(DbtCloudJobRunException):
    """dbt Cloud could not be asked about the run for too long: it may go on, and how it ends is not known."""


# By what the trigger's event says of a run: expired is its job's time limit, the next two are the task's.
RUN_ERRORS = {
    "error": DbtCloudJobRunFailed,
    "cancelled": DbtCloudJobRunCancelled,
    "expired": DbtCloudJobRunTimedOut,
    "timeout": DbtCloudJobRunTimedOut,
    "waited": DbtCloudJobRunTimedOut,
    "lost": DbtCloudJobRunLost,
}
