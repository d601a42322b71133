"""Fault injection: effects on clients, number of requests, listing and clearing."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, ids


def url(cloud: RunningCloud, fault_id: str = "") -> str:
    return f"{cloud.url}/local/faults/{fault_id}"


def test_no_fault_is_active_initially(cloud: RunningCloud) -> None:
    assert cloud.faults() == []


def test_status_replaces_the_given_number_of_responses(cloud: RunningCloud) -> None:
    cloud.add_fault(method="post", path="/jobs/101/run$", status=503, times=2)
    assert cloud.get("runs/") == []
    for _ in range(2):
        answer = cloud.client.post("jobs/101/run/", json={"cause": "x"})
        assert (answer.status_code, answer.json()["status"]["is_success"]) == (503, False)
        assert "Retry-After" not in answer.headers
    assert cloud.get("runs/") == []
    assert cloud.faults() == []
    cloud.cancel(cloud.trigger(101)["id"])


def test_acts_processes_the_request_before_the_status(cloud: RunningCloud) -> None:
    cloud.add_fault(method="post", path="/jobs/101/run$", status=503, acts=True)
    assert cloud.client.post("jobs/101/run/", json={"cause": "x"}).status_code == 503
    (run,) = cloud.get("runs/")
    cloud.cancel(run["id"])


def test_retry_after_sets_the_header(cloud: RunningCloud) -> None:
    cloud.add_fault(path="/runs", status=429, retry_after=7)
    answer = cloud.client.get("runs/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize("status", [None, 502])
def test_html_replaces_the_body(cloud: RunningCloud, status: int | None) -> None:
    cloud.add_fault(path="/runs", html=True, status=status)
    answer = cloud.client.get("runs/")
    assert (answer.status_code, answer.headers["content-type"]) == (status or 200, "text/html; charset=utf-8")
    assert "<html>" in answer.text


def test_delay_precedes_the_response(cloud: RunningCloud) -> None:
    cloud.add_fault(path="/runs", delay=30)
    with pytest.raises(httpx.ReadTimeout):
        cloud.client.get("runs/", timeout=0.3)
    assert cloud.get("runs/") == []
    cloud.add_fault(path="/runs", delay=0.01)
    assert cloud.get("runs/") == []


@pytest.mark.parametrize(("drop", "runs"), [("before", 0), ("after", 1)])
def test_drop_closes_connection_before_or_after_processing(cloud: RunningCloud, drop: str, runs: int) -> None:
    cloud.add_fault(method="POST", path="/run$", drop=drop)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        cloud.client.post("jobs/101/run/", json={"cause": "x"})
    assert len(cloud.get("runs/")) == runs
    cloud.cancel(cloud.trigger(101)["id"])
    for run in cloud.get("runs/", status__in="[1,2,3]"):
        cloud.cancel(run["id"])


def test_hide_new_runs_omits_young_runs(cloud: RunningCloud) -> None:
    old = cloud.add_run(created_at=utc_now() - timedelta(minutes=2))
    new = cloud.add_run()
    cloud.add_fault(path=r"/runs(/\d+)?$", hide_new_runs=60, times=None)
    assert cloud.client.get(f"runs/{new}/").status_code == 404
    assert cloud.get(f"runs/{old}/")["id"] == old
    assert ids(cloud.get("runs/", pk__in=f"[{old},{new}]")) == [old]
    cloud.clear_faults()
    assert cloud.get(f"runs/{new}/")["id"] == new


def test_hide_new_runs_does_not_affect_post(cloud: RunningCloud) -> None:
    cloud.add_fault(path=".", hide_new_runs=60, times=None)
    run_id = cloud.trigger(101)["id"]
    assert cloud.client.get(f"runs/{run_id}/").status_code == 404
    assert cloud.cancel(run_id)["id"] == run_id


def test_run_status_can_be_unknown_to_dbt_cloud(cloud: RunningCloud) -> None:
    run_id = cloud.add_run()
    cloud.add_fault(path=f"/runs/{run_id}$", run_status=0)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Unknown"
    cloud.add_fault(path=r"/runs(/\d+)?$", run_status=42, times=2)
    for run in (cloud.get(f"runs/{run_id}/"), cloud.get("runs/")[0]):
        assert (run["status"], run["is_success"]) == (42, False)
    assert cloud.get(f"runs/{run_id}/")["status"] == 10


def test_run_status_freezes_a_run(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(finished_at=utc_now())
    fault_id = cloud.add_fault(path=f"/runs/{run_id}$", run_status=3, times=None)
    for _ in range(3):
        run = cloud.get(f"runs/{run_id}/")
        assert (run["status_humanized"], run["is_complete"], run["finished_at"]) == ("Running", False, None)
    cloud.client.delete(url(cloud, str(fault_id)))
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Success"


def test_run_faults_change_only_runs(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(RunStatus.SUCCESS)
    cloud.add_fault(path=".", run_status=42, hide_new_runs=60, times=None)
    assert cloud.get("jobs/101/")["id"] == 101
    assert len(cloud.get("jobs/")) == 3
    assert cloud.client.get(f"runs/{run_id}/artifacts/x").status_code == 404
    assert cloud.client.get("runs/x/").status_code == 404


def test_oldest_matching_fault_applies(cloud: RunningCloud) -> None:
    cloud.add_fault(method="DELETE", path="/runs", status=500)
    cloud.add_fault(path="/runs/7$", status=501)
    first = cloud.add_fault(path="/runs$", status=502)
    cloud.add_fault(path="/runs$", status=503)
    assert [cloud.client.get("runs").status_code for _ in range(3)] == [502, 503, 200]
    assert first not in ids(cloud.faults())


def test_faults_are_listed_with_remaining_times_and_cleared(cloud: RunningCloud) -> None:
    fault_id = cloud.add_fault(path="/runs", status=500, times=3)
    cloud.client.get("runs/")
    (listed,) = cloud.faults()
    assert (listed["id"], listed["times"], listed["status"]) == (fault_id, 2, 500)
    assert cloud.client.delete(url(cloud, str(fault_id))).json()["data"] == []
    assert cloud.client.delete(url(cloud, str(fault_id))).status_code == 404
    cloud.add_fault(path="/runs", status=500, times=None)
    assert cloud.client.delete(url(cloud)).status_code == 200
    assert cloud.client.get("runs/").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"path": "/runs"},
        {"status": 500},
        {"path": "(", "status": 500},
        {"path": "/runs", "status": 99},
        {"path": "/runs", "status": 500, "times": 0},
        {"path": "/runs", "drop": "sometimes"},
        {"path": "/runs", "statsu": 500},
        {"path": "/runs", "delay": -1},
        {"path": "/runs", "method": "", "status": 500},
        {"path": "/runs", "retry_after": 5},
        {"path": "/runs", "drop": "before", "acts": True},
        {"path": "/runs", "status": 500, "drop": "after"},
        {"path": "/runs", "html": True, "run_status": 42},
        {"path": "/runs", "drop": "after", "hide_new_runs": 5},
        {"path": "/runs", "run_status": -1},
    ],
)
def test_invalid_fault_is_rejected(cloud: RunningCloud, body: dict[str, Any]) -> None:
    answer = cloud.client.post(url(cloud), json=body)
    assert answer.status_code == 400
    assert answer.json()["data"]
    assert cloud.faults() == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_faults_need_the_token(cloud: RunningCloud, method: str) -> None:
    wrong = {"Authorization": "Token wrong"}
    answer = cloud.client.request(method, url(cloud), headers=wrong, json={"path": "x", "status": 500})
    assert answer.status_code == 401


def test_faults_can_be_cleared_under_any_fault(cloud: RunningCloud) -> None:
    cloud.add_fault(path=".", drop="before", times=None)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        cloud.client.get("runs/")
    assert cloud.client.delete(url(cloud)).status_code == 200
    assert cloud.client.get("runs/").status_code == 200
