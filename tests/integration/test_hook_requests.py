"""How the hook sends requests: timeouts, proxies, retries of GET but not of POST; and its errors."""

import asyncio
import socket
import threading
import time
import traceback
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from local_dbt_cloud.testing import LocalDbtCloud
from requests.adapters import HTTPAdapter

from include.dbt_cloud.exceptions import DbtCloudConnectionError, DbtCloudResponseError
from include.dbt_cloud.hook import DbtCloudHook
from tests.connection import connect
from tests.integration.tls_server import answering


@pytest.fixture
def hook() -> DbtCloudHook:
    return DbtCloudHook("dbt_conn", timeout_seconds=1, retry_delay=0.01)


def trigger(hook: DbtCloudHook) -> None:
    hook.trigger_job_run(101, "a test")


@pytest.mark.parametrize(
    "trouble",
    [{"status": 500}, {"status": 502, "html": True}, {"status": 503}, {"status": 504}, {"drop": "before"},
     {"drop": "after"}, {"delay": 30}],
)  # fmt: skip
def test_a_get_is_retried_until_it_is_answered(
    cloud: LocalDbtCloud, hook: DbtCloudHook, trouble: dict[str, Any]
) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/runs/", times=1 if "delay" in trouble else 3, **trouble)
    assert hook.get_job_run(run_id).json()["data"]["id"] == run_id
    assert cloud.faults() == []


def test_retry_after_is_obeyed(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    cloud.add_fault("/runs/", status=429, retry_after=7)
    hook.get_job_run(cloud.create_run())
    assert 7 in waits


def test_a_pause_of_five_minutes_is_waited_for(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    cloud.add_fault("/run$", method="POST", status=429, retry_after=300)
    trigger(hook)
    assert waits == [300]


def test_a_cancel_that_is_rejected_because_the_run_has_ended_is_no_error(
    cloud: LocalDbtCloud, hook: DbtCloudHook
) -> None:
    run_id = cloud.create_run("success")
    cloud.add_fault("/cancel$", method="POST", status=400)
    hook.cancel_job_run(run_id)
    active = cloud.create_run("running")
    cloud.add_fault("/cancel$", method="POST", status=400)
    with pytest.raises(DbtCloudResponseError, match="400"):
        hook.cancel_job_run(active)


def test_a_get_that_keeps_failing_raises_a_clear_error(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/runs/", status=503, times=None)
    with pytest.raises(
        DbtCloudResponseError, match=f"answered 503 .* to GET /api/v2/accounts/1/runs/{run_id}/"
    ):
        hook.get_job_run(run_id)
    cloud.clear_faults()
    cloud.add_fault("/runs/", drop="before", times=None)
    with pytest.raises(
        DbtCloudConnectionError, match=f"did not answer GET /api/v2/accounts/1/runs/{run_id}/"
    ):
        hook.get_job_run(run_id)


@pytest.mark.parametrize(
    ("trouble", "runs", "error"),
    [
        ({"status": 503}, 0, DbtCloudResponseError),
        ({"drop": "before"}, 0, DbtCloudConnectionError),
        ({"drop": "after"}, 1, DbtCloudConnectionError),
    ],
)
def test_a_post_is_sent_once(
    cloud: LocalDbtCloud, hook: DbtCloudHook, trouble: dict[str, Any], runs: int, error: type[Exception]
) -> None:
    cloud.add_fault("/run$", method="POST", **trouble)
    with pytest.raises(error):
        trigger(hook)
    found = cloud.get("runs/")
    assert len(found) == runs
    assert cloud.faults() == []
    for run in found:
        cloud.cancel(run["id"])


def test_a_rate_limited_post_is_sent_again_after_retry_after(
    cloud: LocalDbtCloud, hook: DbtCloudHook
) -> None:
    cloud.add_fault("/run$", method="POST", status=429, retry_after=1)
    started = time.monotonic()
    trigger(hook)
    assert time.monotonic() - started >= 1
    (run,) = cloud.get("runs/")
    cloud.cancel(run["id"])


def test_the_connections_proxies_are_used(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens on port 1.
    proxies = {"proxies": {"https": "http://127.0.0.1:1"}}
    connect(monkeypatch, cloud.host, extra=proxies)
    with pytest.raises(DbtCloudConnectionError, match="ProxyError"):
        hook.get_account()


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda hook: hook.get_job_run(7), "dbt Cloud has no run 7 in account 1"),
        (lambda hook: hook.get_job(7), "dbt Cloud has no job 7 in account 1"),
        (lambda hook: hook.trigger_job_run(7, "a test"), "dbt Cloud has no job 7 in account 1"),
        (lambda hook: hook.get_account(account_id=2), "has no access to account 2"),
    ],
)
def test_a_missing_run_job_or_account_raises_a_clear_error(
    cloud: LocalDbtCloud, hook: DbtCloudHook, ask: Any, sentence: str
) -> None:
    with pytest.raises(DbtCloudResponseError, match=sentence):
        ask(hook)


def test_the_connection_test_names_the_account(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    assert hook.test_connection() == (True, "Successfully connected to dbt Cloud, account 'Local account'.")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"token": "wrong"}, "rejected the API token of the connection 'dbt_conn' (401)"),
        ({"token": ""}, "has no API token: set its password"),
        ({"token": "local-token\n"}, "has an API token with a space or a line break in it"),
        ({"login": "2"}, "has no access to account 2"),
        ({"login": ""}, "has no account id: set its login"),
        ({"login": "dbtc_secret"}, "has an account id that is not a number: set its login to the number"),
        ({"host": "https://ab123.us1.dbt.com"}, "write the name alone"),
        ({"host": "localhost", "port": 8580}, "append it to the host, host:8580"),
        ({"host": "no-such-host.invalid"}, "The host no-such-host.invalid does not exist"),
        ({"host": "localhost:1"}, "dbt Cloud at localhost:1 did not answer"),
    ],
)
def test_the_connection_test_says_what_is_wrong(
    cloud: LocalDbtCloud,
    hook: DbtCloudHook,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    sentence: str,
) -> None:
    connect(monkeypatch, **{"host": cloud.host} | change)
    passed, said = hook.test_connection()
    assert not passed
    assert sentence in said
    assert "local-token" not in said
    assert "dbtc_secret" not in said
    assert said.count(". ") == 0


def test_a_token_in_the_wrong_field_is_not_printed(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, cloud.host, login="dbtc_secret", token="1")
    with pytest.raises(AirflowException, match="has an account id that is not a number") as error:
        hook.check_job_is_not_running(101)
    assert "dbtc_secret" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("read", [DbtCloudHook.get_account, lambda hook: asyncio.run(hook.load_connection())])
def test_a_connection_that_was_truncated_in_dotenv_is_an_error(
    hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    # Airflow would use the connection dbt_conn of its database.
    monkeypatch.setenv(
        "AIRFLOW_CONN_DBT_CONN", '{"conn_type": "dbt_cloud", "login": "1", "password": "dbtc_secret'
    )
    with pytest.raises(AirflowException, match="AIRFLOW_CONN_DBT_CONN is not valid JSON") as error:
        read(hook)
    assert "dbtc_secret" not in "".join(traceback.format_exception(error.value))


def test_an_aborted_handshake_is_not_reported_as_an_untrusted_certificate(
    monkeypatch: pytest.MonkeyPatch, hook: DbtCloudHook
) -> None:
    def hang_up() -> None:
        connection, _ = server.accept()
        connection.recv(4096)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up).start()
        connect(monkeypatch, f"localhost:{server.getsockname()[1]}")
        with pytest.raises(DbtCloudConnectionError, match="did not answer GET /api/v2/accounts/1/runs/7/"):
            hook.get_job_run(7)


def test_an_untrusted_certificate_is_reported_with_advice(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    passed, said = hook.test_connection()
    assert not passed
    assert "is not trusted" in said
    assert "SSL_CERT_FILE" in said


def test_a_token_in_the_login_is_not_in_an_error_of_the_providers_methods(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, cloud.host, login="dbtc_secret", token="1")
    with pytest.raises(AirflowException, match="account id that is not a number") as error:
        hook.get_job(7)
    assert "dbtc_secret" not in str(error.value)


@pytest.mark.parametrize("location", ["http://:bad:port/", "foo://x/", "https://no-such-host.invalid/login"])
def test_a_redirected_post_has_an_unknown_outcome(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    send = HTTPAdapter.send

    def redirect(self: HTTPAdapter, request: Any, **more: Any) -> Any:
        response = send(self, request, **more)
        response.status_code, response.headers["location"] = 302, location
        return response

    monkeypatch.setattr(HTTPAdapter, "send", redirect)
    cloud.pause()
    monkeypatch.setattr("requests.Response.json", lambda _: {})
    with pytest.raises(DbtCloudConnectionError) as error:
        hook.trigger_run(101, 1, "x")
    assert error.value.outcome_unknown
    assert len(cloud.runs(101)) == 1


def test_a_trickling_answer_does_not_outlast_the_timeout(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"data": {"id": 7, "status": 10}}'
    with answering(body, cloud.data_dir / "server.pem", seconds_per_byte=0.2) as port:
        connect(monkeypatch, f"localhost:{port}")
        hook = DbtCloudHook("dbt_conn", timeout_seconds=1, retry_limit=0)
        with pytest.raises(DbtCloudConnectionError, match="within 1 seconds") as error:
            hook.get_job_run(7)
    assert error.value.outcome_unknown


def test_an_empty_answer_to_a_submission_has_an_unknown_outcome(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(b'{"data": []}', cloud.data_dir / "server.pem") as port:
        connect(monkeypatch, f"localhost:{port}")
        with pytest.raises(DbtCloudConnectionError, match="Unexpected answer") as error:
            hook.trigger_run(101, 1, "x")
    assert error.value.outcome_unknown


def test_an_answer_that_repeats_the_request_does_not_show_the_token(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(b'{"headers": {"Authorization": "Token s3cret"}}', cloud.data_dir / "server.pem") as port:
        connect(monkeypatch, f"localhost:{port}", token="s3cret")
        with pytest.raises(DbtCloudConnectionError, match=r"Token \*\*\*"):
            hook.trigger_run(101, 1, "x")


def test_a_long_retry_after_does_not_hold_a_cancel(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.2)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    cloud.add_fault("/cancel$", method="POST", status=429, retry_after=600, times=None)
    with pytest.raises(DbtCloudResponseError, match="429"):
        hook.cancel_job_run(cloud.create_run("running"))
    assert all(wait <= 1 for wait in waits)


def test_a_retry_after_beyond_the_limit_fails_at_once(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    cloud.add_fault("/run$", method="POST", status=429, retry_after=3600)
    with pytest.raises(DbtCloudResponseError, match="429"):
        trigger(hook)
    assert waits == []


def test_a_cancel_is_confirmed_only_when_the_run_has_ended(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cloud.create_run("running")
    monkeypatch.setattr("include.dbt_cloud.hook.CANCEL_TIMEOUT", 0.2)
    cloud.add_fault("/runs/", run_status=3, times=None)
    with pytest.raises(DbtCloudConnectionError, match=f"run {run_id} is still active after a cancel request"):
        hook.cancel_job_run(run_id)


def test_a_malformed_proxy_does_not_show_its_password(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, cloud.host, extra={"proxies": {"https": "http://user:hun/ter2@proxy:80"}})
    with pytest.raises(DbtCloudConnectionError) as error:
        DbtCloudHook("dbt_conn", retry_limit=0).get_job_run(7)
    shown = "".join(traceback.format_exception(error.value))
    assert "hun" not in shown
    assert "ter2" not in shown
