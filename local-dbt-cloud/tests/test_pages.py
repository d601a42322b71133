"""The pages without a browser: content, filters, security checks."""

import html
import itertools
import json
import re
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
import pytest

from local_dbt_cloud.database import Job, JobState, Run, utc_now
from local_dbt_cloud.fault_injection import Fault
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud

ANY_FAULT = Fault(path="runs", status=503, times=None)
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def pages(cloud: RunningCloud) -> httpx.Client:
    return httpx.Client(base_url=cloud.service.pages_url, follow_redirects=True, trust_env=False)


def number_of_runs(cloud: RunningCloud) -> int:
    return cloud.client.get("runs/").json()["extra"]["pagination"]["total_count"]


def test_page_of_a_run_is_at_its_href(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(
        RunStatus.ERROR, started_at=utc_now(), finished_at=utc_now(), status_message="It broke."
    )
    cloud.add_step(run_id, name="Invoke dbt with `dbt build`", log="a line <b>of</b> the log")
    href = cloud.get(f"runs/{run_id}/")["href"]
    page = pages.get(href).text
    for text in ("Error", "It broke.", "a test", "Build jaffle shop", "Invoke dbt with `dbt build`"):
        assert text in page
    assert "a line &lt;b&gt;of&lt;/b&gt; the log" in page


def test_list_links_to_all_runs(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_ids = [cloud.add_run() for _ in range(60)]
    first, second = pages.get("/deploy/1/runs/").text, pages.get("/deploy/1/runs/?page=2").text
    for run_id in run_ids:
        assert f"/runs/{run_id}/" in (first if run_id > 10 else second)


@pytest.mark.parametrize(("status", "refreshes"), [(RunStatus.RUNNING, True), (RunStatus.SUCCESS, False)])
def test_page_refreshes_only_while_the_run_is_active(
    cloud: RunningCloud, pages: httpx.Client, status: RunStatus, refreshes: bool
) -> None:
    page = pages.get(f"/deploy/1/projects/1/runs/{cloud.add_run(status)}/").text
    assert ("<main data-refresh>" in page) is refreshes


def test_empty_list_explains_how_to_run_a_job(pages: httpx.Client) -> None:
    assert "make run" in pages.get("/").text


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/deploy/1/projects/1/runs/7/", "/deploy/2/runs/", f"/deploy/1/projects/1/runs/{2**70}/"],
)
def test_missing_page_is_404(pages: httpx.Client, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 404
    assert "Page not found" in answer.text


def test_other_host_name_is_rejected(pages: httpx.Client) -> None:
    assert pages.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_pages_contain_no_token_external_url_or_frame(cloud: RunningCloud, pages: httpx.Client) -> None:
    cloud.service.faults.add(ANY_FAULT)
    run = f"/deploy/1/projects/1/runs/{cloud.add_run()}/"
    for answer in (*map(pages.get, ("/", "/deploy/1/runs/", run, "/nothing")), pages.post(f"{run}retry/")):
        assert "local-token" not in answer.text
        assert "//" not in answer.text.replace("// ", "").replace(cloud.service.pages_url, "")
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_names_and_logs_are_escaped(cloud: RunningCloud, pages: httpx.Client) -> None:
    with cloud.service.sessions.begin() as session:
        job = session.get_one(Job, 101)
        told = {"name": SCRIPT, "description": SCRIPT, "execute_steps": [SCRIPT]}
        job.definition = job.definition | told
    cloud.service.faults.add(Fault(path=SCRIPT, drop="before"))
    trigger = {"cause": SCRIPT, "schema_override": SCRIPT, "steps_override": [SCRIPT]}
    fields = {"status_message": SCRIPT, "dbt_version": SCRIPT, "finished_at": utc_now(), "trigger": trigger}
    run_id = cloud.add_run(RunStatus.CANCELLED)
    with cloud.service.sessions.begin() as session:
        for name, value in fields.items():
            setattr(session.get_one(Run, run_id), name, value)
    cloud.add_step(run_id, name=SCRIPT, log=SCRIPT, artifacts={"<script>alert(1)<script>": ""})
    run = f"/deploy/1/projects/1/runs/{run_id}/"
    # Number of occurrences per page, one of them in the list of faults.
    runs, job_page = "/deploy/1/runs/", "/deploy/1/projects/1/jobs/101"
    for path, times in (("/", 5), (runs, 5), (run, 10), (f"{runs}?job=101&status=1", 2), (job_page, 8)):
        page = pages.get(path).text
        assert "<script>alert" not in page
        assert page.count("&lt;script&gt;alert(1)") == times, path


def shown(page: str) -> list[int]:
    return [int(run_id) for run_id in re.findall(r'<tr id="run-(\d+)">', page)]


def test_runs_are_filtered_by_job_and_status(cloud: RunningCloud, pages: httpx.Client) -> None:
    for job_id in (101, 102):
        for status in (RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.RUNNING):
            cloud.add_run(status, job_id)
    for query, expected in {
        "": [6, 5, 4, 3, 2, 1],
        "?job=&status=": [6, 5, 4, 3, 2, 1],
        "?job=101": [3, 2, 1],
        "?status=20": [5, 2],
        "?job=102&status=3": [6],
        "?job=102&status=30": [],
        "?job=7": [],
        f"?job={'9' * 19}&status={'9' * 19}": [],
    }.items():
        page = pages.get(f"/deploy/1/runs/{query}").text
        assert shown(page) == expected, query
        assert f'Runs <span class="soft">{len(expected)}<' in page
    page = pages.get("/deploy/1/runs/?job=102&status=30").text
    assert '<option value="102" selected>' in page
    assert '<option value="30" selected>Cancelled' in page
    assert "Show all runs" in page
    assert shown(pages.get("/deploy/1/projects/1/runs/").text) == [6, 5, 4, 3, 2, 1]
    assert shown(pages.get("/deploy/1/projects/1/runs/?job=102").text) == [6, 5, 4]
    assert pages.get("/deploy/1/projects/7/runs/").status_code == 404


def test_job_page_shows_settings_runs_and_durations(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_ids = [cloud.add_run(started_at=utc_now(), finished_at=utc_now()) for _ in range(25)]
    cloud.add_run(job_id=102)
    page = pages.get("/deploy/1/projects/1/jobs/101/").text
    assert shown(page) == run_ids[:4:-1]
    for text in ("Build jaffle shop", "dbt build", "Production", "All 25 runs", "Run now"):
        assert text in page
    runs = json.loads(html.unescape(re.findall(r'<duration-chart id="durations" runs="([^"]+)"', page)[0]))
    assert [run["run_id"] for run in runs] == run_ids
    assert {run["outcome"] for run in runs} == {"success"}
    assert "<duration-chart" not in pages.get("/deploy/1/projects/1/jobs/102").text


def test_page_of_a_deleted_job_cannot_run_it(cloud: RunningCloud, pages: httpx.Client) -> None:
    with cloud.service.sessions.begin() as session:
        session.get_one(Job, 102).state = JobState.DELETED
    page = pages.get("/deploy/1/projects/1/jobs/102").text
    assert "This job was deleted." in page
    assert "Run now" not in page
    for path in ("1/projects/2/jobs/101", "1/projects/1/jobs/7", f"1/projects/1/jobs/{2**70}"):
        assert pages.get(f"/deploy/{path}").status_code == 404


RESULTS = {
    "args": {"which": "build"},
    "results": [
        {
            "unique_id": "model.shop.orders",
            "status": "success",
            "thread_id": "Thread-1",
            "execution_time": 2,
            "timing": [{"started_at": "2026-01-01T00:00:00Z"}],
            "adapter_response": {"rows_affected": 7},
        },
        {
            "unique_id": "test.shop.unique_orders_id.abc",
            "status": "fail",
            "failures": 3,
            "execution_time": 1,
            "timing": [{"started_at": "2026-01-01T00:00:02Z"}],
            "message": "Got 3",
            "compiled_code": "select 1",
        },
        {"unique_id": "model.shop.report", "status": "skipped"},
    ],
}
UNIQUE = {"test_metadata": {"name": "unique"}, "attached_node": "model.shop.orders", "column_name": "id"}
MANIFEST = {
    "nodes": {"test.shop.unique_orders_id.abc": UNIQUE},
    "parent_map": {
        "test.shop.unique_orders_id.abc": ["model.shop.orders"],
        "model.shop.report": ["model.shop.orders"],
    },
}


def test_results_of_a_finished_run_are_served_for_its_page(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(RunStatus.ERROR, finished_at=utc_now())
    docs = json.dumps(RESULTS | {"args": {"which": "generate"}})
    texts = {"run_results.json": json.dumps(RESULTS), "manifest.json": json.dumps(MANIFEST)}
    cloud.add_step(run_id, 1, artifacts=texts)
    cloud.add_step(run_id, 2, artifacts={"run_results.json": docs})
    cloud.add_step(run_id, 3, artifacts={"run_results.json": "{half a fi"})
    run = f"/deploy/1/projects/1/runs/{run_id}/"
    assert '<run-results id="results" src="results.json">' in pages.get(run).text
    results = pages.get(f"{run}results.json").json()
    assert results["counts"] == {"fail": 1, "skipped": 1, "success": 1}
    test, skipped, model = results["nodes"]
    assert (test["name"], test["rows"], test["sql"], test["message"]) == (
        "unique orders.id",
        3,
        "select 1",
        "Got 3",
    )
    assert skipped["skipped_by"] == "test.shop.unique_orders_id.abc"
    assert (model["rows"], model["critical"], test["critical"]) == (7, True, True)


def test_results_of_an_active_run_are_not_served(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)
    cloud.add_step(run_id, artifacts={"run_results.json": json.dumps(RESULTS)})
    run = f"/deploy/1/projects/1/runs/{run_id}/"
    assert "<run-results" not in pages.get(run).text
    assert pages.get(f"{run}results.json").status_code == 404


def test_pagination_keeps_the_filters(cloud: RunningCloud, pages: httpx.Client) -> None:
    for _ in range(120):
        cloud.add_run(RunStatus.ERROR)
        cloud.add_run(RunStatus.ERROR, 102)
    page = pages.get("/deploy/1/runs/?job=101&status=20&page=2").text
    newer, older = re.findall(r'<a href="(\?[^"]+page=[^"]+)">(?:Newer|Older)', page)
    first, last = (pages.get(f"/deploy/1/runs/{link.replace('&amp;', '&')}").text for link in (newer, older))
    assert shown(first) + shown(page) + shown(last) == list(range(239, 0, -2))
    assert "Newer" not in first
    assert "Older" not in last
    assert "Page 4 does not exist" in pages.get("/deploy/1/runs/?job=101&page=4").text


def test_invalid_filter_is_not_found(pages: httpx.Client) -> None:
    for query in ("job=x", "status=-1", "page=0", "page=x", f"page={10**10}"):
        assert pages.get(f"/deploy/1/runs/?{query}").status_code == 404, query


def test_queued_run_shows_what_it_waits_for(cloud: RunningCloud, pages: httpx.Client) -> None:
    alone = cloud.add_run(RunStatus.QUEUED, 102)
    first, second, third = (cloud.add_run(RunStatus.QUEUED) for _ in range(3))
    for run_id, text in (
        (alone, "a free run slot; the account has 1"),
        (first, "a free run slot; the account has 1"),
        (second, f"run {first} of the same job"),
        (third, f"run {second} of the same job"),
    ):
        page = pages.get(f"/deploy/1/projects/1/runs/{run_id}/").text
        assert text in re.sub("<[^>]+>", "", page)
        assert "just now" in page


ACCEPTED_HEADERS = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "{ours}"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "{ours}"},
    # The proxy of a development container uses another host name.
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.example"},
]
REJECTED_HEADERS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{ours}"},
    {"Sec-Fetch-Site": "future-value"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost:1"},
    {"Origin": "{ours}.evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
]


def test_same_origin_action_is_performed(cloud: RunningCloud, pages: httpx.Client) -> None:
    for headers in ACCEPTED_HEADERS:
        cloud.service.faults.add(ANY_FAULT)
        ours = {name: value.format(ours=cloud.service.pages_url) for name, value in headers.items()}
        assert pages.post("/local/faults/clear/", headers=ours).status_code == 200, headers
        assert cloud.service.faults.all() == []


def test_cross_origin_action_is_rejected(cloud: RunningCloud, pages: httpx.Client) -> None:
    cloud.service.faults.add(Fault(path="nothing like it", status=503, times=None))
    run_id = cloud.add_run(RunStatus.QUEUED)
    run = f"/deploy/1/projects/1/runs/{run_id}"
    paths = ("/deploy/1/jobs/101/run/", f"{run}/cancel/", f"{run}/retry/", "/local/faults/clear/")
    for headers, path in itertools.product(REJECTED_HEADERS, paths):
        theirs = {name: value.format(ours=cloud.service.pages_url) for name, value in headers.items()}
        answer = pages.post(path, headers=theirs)
        assert answer.status_code == 403, (headers, path)
        assert "came from another site" in answer.text
    assert number_of_runs(cloud) == 1
    assert cloud.get(f"runs/{run_id}/")["status"] == RunStatus.QUEUED
    assert len(cloud.service.faults.all()) == 1


def test_action_on_missing_object_is_not_found(cloud: RunningCloud, pages: httpx.Client) -> None:
    cloud.add_run(RunStatus.QUEUED)
    with cloud.service.sessions.begin() as session:
        session.get_one(Job, 102).state = JobState.DELETED
    jobs = ("1/jobs/7", "1/jobs/102", "2/jobs/101", f"1/jobs/{2**70}", f"1/jobs/-{2**70}")
    runs = ("1/projects/1/runs/7", "1/projects/2/runs/1", "2/projects/1/runs/1", f"1/projects/1/runs/{2**70}")
    for path in (
        *(f"/deploy/{job}/run/" for job in jobs),
        *(f"/deploy/{run}/{button}/" for run in runs for button in ("cancel", "retry")),
    ):
        answer = pages.post(path)
        assert answer.status_code == 404, path
        assert "Page not found" in answer.text
    assert [run["status"] for run in cloud.get("runs/")] == [RunStatus.QUEUED]


def test_get_request_performs_no_action(cloud: RunningCloud, pages: httpx.Client) -> None:
    answer = pages.get("/deploy/1/jobs/101/run/")
    assert answer.status_code == 404
    assert "Page not found" in answer.text
    assert number_of_runs(cloud) == 0


@pytest.mark.end_to_end
def test_actions_trigger_and_cancel_a_run(cloud: RunningCloud, pages: httpx.Client) -> None:
    response = pages.post("/deploy/1/jobs/101/run/", follow_redirects=False)
    run = cloud.get("runs/1/", include_related="trigger")
    assert response.status_code == 303
    assert cloud.service.pages_url + response.headers["Location"] == run["href"]
    assert run["trigger"]["cause"] == "Kicked off from the pages of the local dbt Cloud"
    page = pages.post(f"{run['href']}cancel/")
    assert page.url == run["href"]
    assert "Cancelled by user." in page.text
    # A second click, on an outdated page, changes nothing.
    assert pages.post(f"{run['href']}cancel/").status_code == 200
    assert cloud.get("runs/1/")["status_message"] == "Cancelled by user."


def test_unsupported_retry_shows_the_reason(cloud: RunningCloud, pages: httpx.Client) -> None:
    run = f"/deploy/1/projects/1/runs/{cloud.add_run()}/"
    assert "retry/" not in pages.get(run).text
    answer = pages.post(f"{run}retry/")
    assert answer.status_code == 400
    assert "Run 1 cannot be retried: RETRY_NOT_FAILED_RUN." in answer.text
    assert number_of_runs(cloud) == 1


def test_artifacts_are_served_in_a_sandbox(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(finished_at=utc_now())
    texts = {"manifest.json": "{}", "index.html": SCRIPT, "picture.svg": SCRIPT, "a b?#%.sql": "select 1"}
    cloud.add_step(run_id, artifacts=texts)
    run = f"/deploy/1/projects/1/runs/{run_id}/"
    links = re.findall(r'href="(artifacts/[^"]+)"', pages.get(run).text)
    assert len(links) == len(texts)
    for link, (path, text) in zip(links, sorted(texts.items()), strict=True):
        answer = pages.get(run + link)
        assert answer.text == text
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        kind = answer.headers["Content-Type"].split(";")[0]
        assert kind == ("application/json" if path == "manifest.json" else "text/plain")


INVALID_ARTIFACT_PATHS = [
    "1/../log.txt",
    "1/..%2flog.txt",
    "1/%2e%2e/log.txt",
    "1/%2e%2e/%2e%2e/%2e%2e/%2e%2e/server.pem",
    "1//etc/passwd",
    "1/%2fetc%2fpasswd",
    "1/link",
    "1/folder/log.txt",
    "1/folder",
    "1/none.json",
    "1/%00",
    "1/",
    "2/manifest.json",
    "-1/manifest.json",
    f"{2**70}/manifest.json",
]


def test_artifact_path_cannot_leave_the_target_directory(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(finished_at=utc_now())
    cloud.add_step(run_id, log="the log", artifacts={"manifest.json": "{}"})
    target = cloud.service.data.artifacts(run_id, 1)
    (target / "link").symlink_to(target.parent / "log.txt")
    (target / "folder").symlink_to(target.parent)

    def get(path: str) -> tuple[int, str]:
        # httpx would normalize the path.
        connection = HTTPConnection(urlsplit(cloud.service.pages_url).netloc)
        connection.request("GET", f"/deploy/1/projects/1/runs/{run_id}/artifacts/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    assert get("1/manifest.json") == (200, "{}")
    for path in INVALID_ARTIFACT_PATHS:
        status, page = get(path)
        assert status == 404, path
        assert "Page not found" in page


def test_artifacts_of_an_active_run_are_not_served(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING, started_at=utc_now())
    cloud.add_step(run_id, artifacts={"manifest.json": "{}"})
    run = f"/deploy/1/projects/1/runs/{run_id}/"
    assert "manifest.json" not in pages.get(run).text
    assert pages.get(f"{run}artifacts/1/manifest.json").status_code == 404
