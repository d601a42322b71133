"""Fault injection: effects on clients, number of requests, listing and clearing."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from local_dbt_cloud.database import utc_now
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud


def url(cloud: RunningCloud, fault_id: str = "") -> str:
    return f"{cloud.url}/local/faults/{fault_id}"


def fault(cloud: RunningCloud, **fields: Any) -> int:
    """Turn a fault on and return its id."""
    return cloud.post(url(cloud), fields)["id"]


def ids(runs: list[dict[str, Any]]) -> list[int]:
    return [run["id"] for run in runs]


def test_no_fault_is_on_at_the_start(cloud: RunningCloud) -> None:
    assert cloud.get(url(cloud)) == []


def test_a_status_is_answered_as_often_as_asked_and_nothing_is_done(cloud: RunningCloud) -> None:
    fault(cloud, method="post", path="/jobs/101/run$", status=503, times=2)
    assert cloud.get("runs/") == []
    for _ in range(2):
        answer = cloud.client.post("jobs/101/run/", json={"cause": "x"})
        assert (answer.status_code, answer.json()["status"]["is_success"]) == (503, False)
        assert "Retry-After" not in answer.headers
    assert cloud.get("runs/") == []
    assert cloud.get(url(cloud)) == []
    cloud.cancel(cloud.trigger(101)["id"])


def test_a_status_may_be_answered_although_it_was_done(cloud: RunningCloud) -> None:
    fault(cloud, method="post", path="/jobs/101/run$", status=503, acts=True)
    assert cloud.client.post("jobs/101/run/", json={"cause": "x"}).status_code == 503
    (run,) = cloud.get("runs/")
    cloud.cancel(run["id"])


def test_retry_after_is_sent_where_it_is_set(cloud: RunningCloud) -> None:
    fault(cloud, path="/runs", status=429, retry_after=7)
    answer = cloud.client.get("runs/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize("status", [None, 502])
def test_a_body_of_html_is_sent_as_a_proxy_would(cloud: RunningCloud, status: int | None) -> None:
    fault(cloud, path="/runs", html=True, status=status)
    answer = cloud.client.get("runs/")
    assert (answer.status_code, answer.headers["content-type"]) == (status or 200, "text/html; charset=utf-8")
    assert "<html>" in answer.text


def test_a_delay_comes_before_the_true_answer(cloud: RunningCloud) -> None:
    fault(cloud, path="/runs", delay=30)
    with pytest.raises(httpx.ReadTimeout):
        cloud.client.get("runs/", timeout=0.3)
    assert cloud.get("runs/") == []
    fault(cloud, path="/runs", delay=0.01)
    assert cloud.get("runs/") == []


@pytest.mark.parametrize(("drop", "runs"), [("before", 0), ("after", 1)])
def test_a_connection_is_dropped_before_or_after_acting(cloud: RunningCloud, drop: str, runs: int) -> None:
    fault(cloud, method="POST", path="/run$", drop=drop)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        cloud.client.post("jobs/101/run/", json={"cause": "x"})
    assert len(cloud.get("runs/")) == runs
    cloud.cancel(cloud.trigger(101)["id"])
    for run in cloud.get("runs/", status__in="[1,2,3]"):
        cloud.cancel(run["id"])


def test_a_new_run_is_hidden_for_some_seconds(cloud: RunningCloud) -> None:
    old = cloud.add_run(created_at=utc_now() - timedelta(minutes=2))
    new = cloud.add_run()
    fault(cloud, path=r"/runs(/\d+)?$", hide_new_runs=60, times=None)
    assert cloud.client.get(f"runs/{new}/").status_code == 404
    assert cloud.get(f"runs/{old}/")["id"] == old
    assert ids(cloud.get("runs/", pk__in=f"[{old},{new}]")) == [old]
    cloud.client.delete(url(cloud))
    assert cloud.get(f"runs/{new}/")["id"] == new


def test_a_hidden_run_is_in_the_answer_that_made_it(cloud: RunningCloud) -> None:
    fault(cloud, path=".", hide_new_runs=60, times=None)
    run_id = cloud.trigger(101)["id"]
    assert cloud.client.get(f"runs/{run_id}/").status_code == 404
    assert cloud.cancel(run_id)["id"] == run_id


def test_runs_are_reported_in_an_unknown_status(cloud: RunningCloud) -> None:
    run_id = cloud.add_run()
    fault(cloud, path=f"/runs/{run_id}$", run_status=0)
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Unknown"
    fault(cloud, path=r"/runs(/\d+)?$", run_status=42, times=2)
    for run in (cloud.get(f"runs/{run_id}/"), cloud.get("runs/")[0]):
        assert (run["status"], run["is_success"]) == (42, False)
    assert cloud.get(f"runs/{run_id}/")["status"] == 10


def test_a_run_is_frozen_in_a_state(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(finished_at=utc_now())
    fault_id = fault(cloud, path=f"/runs/{run_id}$", run_status=3, times=None)
    for _ in range(3):
        run = cloud.get(f"runs/{run_id}/")
        assert (run["status_humanized"], run["is_complete"], run["finished_at"]) == ("Running", False, None)
    cloud.client.delete(url(cloud, str(fault_id)))
    assert cloud.get(f"runs/{run_id}/")["status_humanized"] == "Success"


def test_what_is_no_run_stays_as_it_is_under_a_fault_for_runs(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(RunStatus.SUCCESS)
    fault(cloud, path=".", run_status=42, hide_new_runs=60, times=None)
    assert cloud.get("jobs/101/")["id"] == 101
    assert len(cloud.get("jobs/")) == 2
    assert cloud.client.get(f"runs/{run_id}/artifacts/x").status_code == 404
    assert cloud.client.get("runs/x/").status_code == 404


def test_only_matching_requests_meet_a_fault_and_of_several_the_oldest(cloud: RunningCloud) -> None:
    fault(cloud, method="DELETE", path="/runs", status=500)
    fault(cloud, path="/runs/7$", status=501)
    first = fault(cloud, path="/runs$", status=502)
    fault(cloud, path="/runs$", status=503)
    assert [cloud.client.get("runs").status_code for _ in range(3)] == [502, 503, 200]
    assert first not in ids(cloud.get(url(cloud)))


def test_faults_are_listed_with_what_is_left_of_them_and_cleared(cloud: RunningCloud) -> None:
    fault_id = fault(cloud, path="/runs", status=500, times=3)
    cloud.client.get("runs/")
    (listed,) = cloud.get(url(cloud))
    assert (listed["id"], listed["times"], listed["status"]) == (fault_id, 2, 500)
    assert cloud.client.delete(url(cloud, str(fault_id))).json()["data"] == []
    assert cloud.client.delete(url(cloud, str(fault_id))).status_code == 404
    fault(cloud, path="/runs", status=500, times=None)
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
def test_a_fault_that_makes_no_sense_is_refused(cloud: RunningCloud, body: dict[str, Any]) -> None:
    answer = cloud.client.post(url(cloud), json=body)
    assert answer.status_code == 400
    assert answer.json()["data"]
    assert cloud.get(url(cloud)) == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_faults_need_the_token(cloud: RunningCloud, method: str) -> None:
    wrong = {"Authorization": "Token wrong"}
    answer = cloud.client.request(method, url(cloud), headers=wrong, json={"path": "x", "status": 500})
    assert answer.status_code == 401


def test_faults_can_be_cleared_whatever_fault_is_on(cloud: RunningCloud) -> None:
    fault(cloud, path=".", drop="before", times=None)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        cloud.client.get("runs/")
    assert cloud.client.delete(url(cloud)).status_code == 200
    assert cloud.client.get("runs/").status_code == 200
