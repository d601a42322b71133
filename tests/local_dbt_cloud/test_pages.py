"""The pages: a run is at its href, the list is at /, both over plain HTTP."""

import httpx
import pytest

from include.local_dbt_cloud.files import DataDirectory
from include.local_dbt_cloud.store import RunStatus, RunStep, now
from tests.running_cloud import RunningCloud


@pytest.fixture
def pages(cloud: RunningCloud) -> httpx.Client:
    return httpx.Client(base_url=cloud.service.pages_url, follow_redirects=True, trust_env=False)


def test_the_page_of_a_run_is_at_its_href(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_id = cloud.add_run(RunStatus.ERROR, started_at=now(), finished_at=now(), status_message="It broke.")
    data: DataDirectory = cloud.service.data
    data.step(run_id, 1).mkdir(parents=True)
    data.step_log(run_id, 1).write_text("a line <b>of</b> the log")
    with cloud.service.sessions.begin() as session:
        session.add(
            RunStep(run_id=run_id, index=1, name="Invoke dbt with `dbt build`", status=RunStatus.ERROR)
        )
    href = cloud.get(f"runs/{run_id}/")["href"]
    page = pages.get(href).text
    for text in ("Error", "It broke.", "a test", "Build jaffle shop", "Invoke dbt with `dbt build`"):
        assert text in page
    assert "a line &lt;b&gt;of&lt;/b&gt; the log" in page


def test_the_list_leads_to_every_run(cloud: RunningCloud, pages: httpx.Client) -> None:
    run_ids = [cloud.add_run() for _ in range(60)]
    first, second = pages.get("/deploy/1/runs/").text, pages.get("/deploy/1/runs/?page=2").text
    for run_id in run_ids:
        assert f"/runs/{run_id}/" in (first if run_id > 10 else second)


@pytest.mark.parametrize(("status", "refreshes"), [(RunStatus.RUNNING, True), (RunStatus.SUCCESS, False)])
def test_a_page_refreshes_itself_while_the_run_goes_on(
    cloud: RunningCloud, pages: httpx.Client, status: RunStatus, refreshes: bool
) -> None:
    page = pages.get(f"/deploy/1/projects/1/runs/{cloud.add_run(status)}/").text
    assert ("<main data-refresh>" in page) is refreshes


def test_without_runs_the_list_says_what_to_do(pages: httpx.Client) -> None:
    assert "make run" in pages.get("/").text


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/deploy/1/projects/1/runs/7/", "/deploy/2/runs/", f"/deploy/1/projects/1/runs/{2**70}/"],
)
def test_what_is_not_there_is_not_found(pages: httpx.Client, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 404
    assert "nothing at this address" in answer.text


def test_another_host_name_is_refused(pages: httpx.Client) -> None:
    assert pages.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_no_page_holds_the_token_or_loads_from_elsewhere(cloud: RunningCloud, pages: httpx.Client) -> None:
    for path in ("/", f"/deploy/1/projects/1/runs/{cloud.add_run()}/"):
        page = pages.get(path).text
        assert "local-token" not in page
        assert "//" not in page.replace("// ", "").replace(cloud.service.pages_url, "")
