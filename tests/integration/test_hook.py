"""The hook's check for an active run, against a local dbt Cloud over TLS."""

from typing import get_args

import pytest
import requests
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException
from local_dbt_cloud.testing import LocalDbtCloud, Status

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.run_tags import run_tag, tagged_cause
from tests.connection import connect
from tests.integration.run_results import result, step
from tests.integration.tls_server import answering
from tests.task_instance import TaskInstance


@pytest.fixture
def hook() -> DbtCloudHook:
    return DbtCloudHook("dbt_conn")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the requests that were sent."""
    sent: list[str] = []
    send = requests.Session.send

    def spy(session, request, **more):
        sent.append(request.url)
        return send(session, request, **more)

    monkeypatch.setattr(requests.Session, "send", spy)
    return sent


@pytest.mark.parametrize("status", get_args(Status))
def test_a_job_is_running_while_a_run_is_queued_starting_or_running(
    cloud: LocalDbtCloud, hook: DbtCloudHook, status: Status
) -> None:
    cloud.create_run(status)
    assert hook.check_job_is_not_running(101) is (status not in ("queued", "starting", "running"))


def test_a_job_that_never_ran_is_not_running(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    assert hook.check_job_is_not_running(101)


def test_another_jobs_run_does_not_count(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    cloud.create_run("running", job_id=102)
    assert hook.check_job_is_not_running(101)


def test_an_active_run_is_found_behind_newer_finished_ones(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    active = cloud.create_run("running")
    cloud.create_run("cancelled")
    assert (run := hook.get_active_job_run(101))
    assert run.id == active


def test_the_newest_of_several_active_runs_is_named(cloud: LocalDbtCloud, hook: DbtCloudHook) -> None:
    cloud.create_run("running")
    queued = cloud.create_run("queued")
    assert (run := hook.get_active_job_run(101))
    assert run.id == queued


def test_the_check_is_one_request_at_any_history(
    cloud: LocalDbtCloud, hook: DbtCloudHook, sent: list[str]
) -> None:
    for _ in range(250):
        cloud.create_run()
    assert hook.check_job_is_not_running(101)
    assert len(sent) == 1


def test_the_log_names_the_active_run_its_creation_and_its_link(
    cloud: LocalDbtCloud, hook: DbtCloudHook, capsys: pytest.CaptureFixture
) -> None:
    run_id = cloud.create_run("running")
    run = cloud.get(f"runs/{run_id}/")
    hook.check_job_is_not_running(101)
    assert f"run {run_id}, running, created {run['created_at']}. See {run['href']}" in capsys.readouterr().out


def test_after_a_clear_a_run_of_a_downstream_task_does_not_count(
    cloud: LocalDbtCloud,
    hook: DbtCloudHook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_DEPLOYMENT_ID", "here")
    with DAG("a_dag", schedule=None):
        check = EmptyOperator(task_id="check_job_is_not_running")
        check >> EmptyOperator(task_id="between") >> EmptyOperator(task_id="trigger_job")
    ti, other = TaskInstance(task_id="trigger_job"), TaskInstance(run_id="another")
    cause = tagged_cause(ti, run_tag(ti, "here"), "A test")
    own = cloud.create_run("running", cause=cause)
    assert hook.check_job_is_not_running(101, context={"ti": ti, "task": check})
    assert "Job 101 has no active run except this Dag run's own." in capsys.readouterr().out
    assert not hook.check_job_is_not_running(101)
    assert not hook.check_job_is_not_running(101, context={"ti": other, "task": check})
    # An older run of another user behind it counts.
    cloud.set_run(own, "success")
    cloud.create_run("running")
    for _ in range(20):
        cloud.create_run("queued", cause=cause)
    assert not hook.check_job_is_not_running(101, context={"ti": ti, "task": check})


def test_a_run_that_retries_one_of_a_downstream_task_does_not_count_either(
    held: LocalDbtCloud, hook: DbtCloudHook
) -> None:
    failed = [step([result("model.shop.orders", "error")]) | {"status": 20}]
    own = held.create_run("error", cause="Mine", steps=failed)
    run = hook.get_run(held.post(f"runs/{own}/retry/")["id"], related=["trigger"])
    assert hook.is_started_by(run, ["Mine"])
    assert not hook.is_started_by(run, ["Yours"])
    held.add_fault(f"/runs/{own}$", status=404)
    assert not hook.is_started_by(run, ["Mine"])


@pytest.mark.parametrize("job_id", ["101", " 101\n"])
def test_the_job_id_may_be_text_as_templates_render_it(
    cloud: LocalDbtCloud, hook: DbtCloudHook, job_id: str
) -> None:
    cloud.create_run("queued")
    assert not hook.check_job_is_not_running(job_id)


@pytest.mark.parametrize(
    "job_id", ["", "None", "101x", "https://ab123.us1.dbt.com/deploy/1/projects/1/jobs/101"]
)
def test_a_job_id_that_is_no_number_is_rejected_with_advice(hook: DbtCloudHook, job_id: str) -> None:
    with pytest.raises(AirflowException, match=r"is not a number: copy it from the job's address"):
        hook.check_job_is_not_running(job_id)


def test_a_wrong_token_is_not_mistaken_for_an_idle_job(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, cloud.host, token="wrong")
    with pytest.raises(AirflowException, match="401"):
        hook.check_job_is_not_running(101)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b"",
        b"[]",
        b"null",
        b'{"status": {"code": 200}}',
        b'{"data": null}',
        b'{"data": {"id": 1}}',
        b'{"data": [7]}',
        b'{"data": [{"id": 7}]}',
        # The list is not filtered, so it does not show whether another run is active.
        b'{"data": [{"id": 7, "status": 10}]}',
    ],
)
def test_an_invalid_response_is_not_mistaken_for_an_idle_job(
    cloud: LocalDbtCloud, hook: DbtCloudHook, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with answering(body, cloud.data_dir / "server.pem") as port:
        connect(monkeypatch, f"localhost:{port}")
        with pytest.raises(AirflowException, match=r"Unexpected answer .* not from dbt Cloud"):
            hook.check_job_is_not_running(101)
