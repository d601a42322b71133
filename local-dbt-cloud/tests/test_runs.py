"""Runs executed by dbt: steps, overrides, the queue, cancellation, timeouts, restarts."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil
import pytest

from local_dbt_cloud import dbt_worker
from local_dbt_cloud.run_status import RunStatus
from running_cloud import RunningCloud, running_cloud
from tiny_account import FAILING, OTHER_ENVIRONMENT, QUICK, SLOW

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def cloud(tiny_cloud: RunningCloud) -> RunningCloud:
    return tiny_cloud


def rows(cloud: RunningCloud, query: str, database: str = "1.duckdb") -> list[Any]:
    with duckdb.connect(str(cloud.service.data.root / database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def is_building(run: dict[str, Any]) -> bool:
    """Return whether dbt has started to build models."""
    return bool(run["run_steps"]) and "Concurrency" in run["run_steps"][-1]["logs"]


def dbt_processes(directory: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["environ"]):
        if str(directory) in ((process.info["environ"] or {}).get("DBT_PROFILES_DIR") or ""):
            found.append(process.pid)
    return found


def test_run_succeeds_with_the_steps_of_dbt_cloud(cloud: RunningCloud) -> None:
    triggered = cloud.trigger(QUICK)
    assert triggered["status_humanized"] == "Queued"
    assert triggered["trigger"]["cause"] == "Triggered by a test"
    assert triggered["job"]["id"] == QUICK
    run = cloud.wait(triggered["id"])
    assert (run["status"], run["status_message"]) == (10, None)
    assert [(step["index"], step["name"], step["status"]) for step in run["run_steps"]] == [
        (1, "Clone git repository", 10),
        (2, "Create profile from connection DuckDB", 10),
        (3, "Invoke dbt with `dbt deps`", 10),
        (4, "Invoke dbt with `dbt run --select one`", 10),
    ]
    assert "Completed successfully" in run["run_steps"][3]["logs"]
    assert "Command `dbt run` succeeded" in run["run_steps"][3]["debug_logs"]
    assert run["created_at"] < run["dequeued_at"] < run["started_at"] < run["finished_at"]
    # dbt sees the ID of its run, but not the API token, which it could print.
    assert rows(cloud, "select run_id, token from main.one") == [(str(run["id"]), "no token")]

    artifacts = cloud.get(f"runs/{run['id']}/artifacts/")
    assert {"manifest.json", "run_results.json", "compiled/tiny/models/one.sql"} <= set(artifacts)
    results = cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json").json()
    assert [result["status"] for result in results["results"]] == ["success"]
    assert results["metadata"]["env"]["DBT_CLOUD_RUN_ID"] == str(run["id"])
    assert cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json?step=3").status_code == 404
    assert cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json?step=9").status_code == 404
    for outside in ("../../state.sqlite", "..%2f..%2f..%2fstate.sqlite", "/etc/passwd", "none.json"):
        assert cloud.client.get(f"runs/{run['id']}/artifacts/{outside}").status_code == 404
    # The copy of the project is not kept.
    assert not (cloud.service.data.run(run["id"]) / "project").exists()


def test_overrides_apply_to_their_run(cloud: RunningCloud) -> None:
    run = cloud.wait(
        cloud.trigger(
            FAILING,
            steps_override=["dbt parse", "dbt run --select one"],
            schema_override="elsewhere",
            threads_override="3",
            target_name_override="test_target",
            generate_docs_override=True,
        )["id"]
    )
    assert run["status_humanized"] == "Success"
    assert [step["run_step_command"]["dbt_command"] for step in run["run_steps"][2:]] == [
        "dbt deps",
        "dbt parse",
        "dbt run --select one",
        "dbt docs generate",
    ]
    assert rows(cloud, "select target, threads from elsewhere.one") == [("test_target", "3")]
    assert run["has_docs_generated"]
    assert "catalog.json" in cloud.get(f"runs/{run['id']}/artifacts/")
    assert "catalog.json" not in cloud.get(f"runs/{run['id']}/artifacts/", step=5)


def test_failed_step_fails_the_run_and_keeps_artifacts(cloud: RunningCloud) -> None:
    steps = ["dbt run --select broken", "dbt run --select one"]
    run = cloud.wait(cloud.trigger(FAILING, steps_override=steps)["id"])
    assert run["status_humanized"] == "Error"
    assert run["status_message"] == "Step 4, `dbt run --select broken`, failed: dbt ended with exit code 1."
    assert [step["status_humanized"] for step in run["run_steps"]] == [
        "Success",
        "Success",
        "Success",
        "Error",
    ]
    assert "on purpose" in run["run_steps"][3]["logs"]
    results = cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json").json()
    assert [result["status"] for result in results["results"]] == ["error"]


def test_dbt_is_restarted_after_a_crash_in_a_step_that_may_fail(cloud: RunningCloud, tmp_path: Path) -> None:
    query = (tmp_path / "tiny" / "models" / "endless.sql").read_text()
    config = {"freshness": {"warn_after": {"count": 1, "period": "day"}}, "loaded_at_query": query}
    sources = {"sources": [{"name": "orders", "config": config, "tables": [{"name": "raw"}]}]}
    (tmp_path / "tiny" / "models" / "sources.yml").write_text(json.dumps(sources))
    body = {"name": "With sources", "environment_id": 1, "execute_steps": ["dbt run --select one"]}
    job = cloud.client.post("jobs/", json=body | {"run_generate_sources": True}).json()["data"]
    run_id = cloud.trigger(job["id"])["id"]
    cloud.wait(run_id, until=is_building)
    os.killpg(os.getpgid(dbt_processes(cloud.service.data.run(run_id))[0]), signal.SIGKILL)
    run = cloud.wait(run_id)
    assert [step["status_humanized"] for step in run["run_steps"][2:]] == ["Success", "Error", "Success"]
    assert "Completed successfully" in run["run_steps"][4]["logs"]
    assert not dbt_processes(cloud.service.data.run(run_id))


def test_a_python_model_changes_nothing_for_later_commands(cloud: RunningCloud, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "models" / "greedy.py").write_text(
        "import os\n"
        "def model(dbt, session):\n"
        "    os.chdir('/')\n"
        "    os.environ['LOCAL_DBT_CLOUD_TOKEN'] = 'changed'\n"
        "    return session.sql('select 1 as n')\n"
    )
    steps = ["dbt run --select greedy", "dbt run --select one"]
    run = cloud.wait(cloud.trigger(QUICK, steps_override=steps)["id"])
    assert run["status_humanized"] == "Success", run["status_message"]
    assert rows(cloud, "select token from main.one") == [("no token",)]


def test_queue_respects_jobs_and_run_slots_and_cancel_frees_them(cloud: RunningCloud) -> None:
    first = cloud.trigger(SLOW)["id"]
    same_job = cloud.trigger(SLOW)["id"]
    other_job = cloud.trigger(OTHER_ENVIRONMENT)["id"]
    no_slot = cloud.trigger(QUICK)["id"]
    cloud.wait(first, until=is_building)
    cloud.wait(other_job, until=is_building)
    # Each job has at most one active run, and both run slots of the account are in use.
    assert cloud.get(f"runs/{same_job}/")["status_humanized"] == "Queued"
    assert cloud.get(f"runs/{same_job}/")["blocked_by"] == [first]
    assert cloud.get(f"runs/{no_slot}/")["status_humanized"] == "Queued"
    assert cloud.client.get(f"runs/{first}/artifacts/").status_code == 404

    # Canceling a queued run does not affect others. For a running one, the response comes after dbt has
    # stopped.
    assert cloud.cancel(same_job)["status_humanized"] == "Cancelled"
    assert cloud.get(f"runs/{first}/")["status_humanized"] == "Running"
    assert dbt_processes(cloud.service.data.run(first))
    run = cloud.cancel(first)
    assert (run["status"], run["status_message"]) == (30, "Cancelled by user.")
    assert not dbt_processes(cloud.service.data.run(first))
    assert (
        cloud.get(f"runs/{first}/", include_related="run_steps")["run_steps"][-1]["status_humanized"]
        == "Cancelled"
    )

    # The slot and the database are free again.
    assert cloud.wait(no_slot)["status_humanized"] == "Success"
    cloud.cancel(other_job)


def test_dbt_that_does_not_stop_is_killed(cloud: RunningCloud, tmp_path: Path) -> None:
    # Python waits for this thread before it exits.
    (tmp_path / "tiny" / "models" / "stubborn.py").write_text(
        "import pathlib, threading, time\n"
        "def model(dbt, session):\n"
        "    threading.Thread(target=time.sleep, args=[600], daemon=False).start()\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(600)\n"
        "    return session.sql('select 1')\n"
    )
    run_id = cloud.trigger(QUICK, steps_override=["dbt run --select stubborn"])["id"]
    started = cloud.service.data.run(run_id) / "project" / "started"
    cloud.wait(run_id, until=lambda run: started.exists())
    assert cloud.client.post(f"runs/{run_id}/cancel/", timeout=60).json()["data"]["is_cancelled"]
    assert not dbt_processes(cloud.service.data.run(run_id))


def test_run_is_canceled_at_its_timeout(cloud: RunningCloud) -> None:
    run = cloud.wait(cloud.trigger(SLOW, timeout_seconds_override=1)["id"])
    assert run["status_humanized"] == "Cancelled"
    assert run["status_message"].startswith("This run timed out after running for ")
    assert not dbt_processes(cloud.service.data.run(run["id"]))


def test_restart_keeps_history_and_cancels_active_runs(tmp_path: Path, tiny_account: Path) -> None:
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        done = cloud.wait(cloud.trigger(QUICK)["id"])
        running, queued = cloud.trigger(SLOW)["id"], cloud.trigger(SLOW)["id"]
        cloud.wait(running, until=lambda run: run["status"] == 3)
    assert not dbt_processes(tmp_path / "data")
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        again = cloud.wait(done["id"])
        assert (again["status"], again["run_steps"]) == (done["status"], done["run_steps"])
        for run_id, what in ((running, "running"), (queued, "queued")):
            run = cloud.get(f"runs/{run_id}/")
            assert run["status_humanized"] == "Cancelled"
            assert run["status_message"] == f"The local dbt Cloud was stopped while this run was {what}."
            assert run["finished_at"]
        assert cloud.wait(cloud.trigger(QUICK)["id"])["status_humanized"] == "Success"


def test_demo_job_102_fails_at_one_model(tmp_path: Path) -> None:
    with running_cloud(tmp_path / "data") as cloud:
        run = cloud.wait(cloud.trigger(102)["id"])
        assert run["status_humanized"] == "Error"
        results = cloud.client.get(f"runs/{run['id']}/artifacts/run_results.json").json()["results"]
        statuses = [result["status"] for result in results]
        assert statuses.count("error") == 1
        assert statuses.count("success") > 10
        assert "skipped" in statuses
        (message,) = (result["message"] for result in results if result["status"] == "error")
        assert "on purpose" in message
        manifest = cloud.client.get(f"runs/{run['id']}/artifacts/manifest.json").json()
        assert len([1 for node in manifest["nodes"].values() if node["resource_type"] == "model"]) >= 10
        ((orders,),) = rows(cloud, "select count(*) from prod.orders", "jaffle_shop.duckdb")
        assert orders > 1000


def test_page_of_an_active_run_shows_its_log(cloud: RunningCloud) -> None:
    run = cloud.trigger(SLOW)
    cloud.wait(run["id"], until=is_building)
    page = httpx.get(run["href"], trust_env=False).text
    assert "Concurrency" in page
    assert "data-refresh" in page
    cloud.cancel(run["id"])
    assert "data-refresh" not in httpx.get(run["href"], trust_env=False).text


def test_run_that_fails_to_start_does_not_block_the_queue(cloud: RunningCloud) -> None:
    # Both are dispatched together, because the account has two run slots.
    broken = cloud.add_run(RunStatus.QUEUED, job_id=FAILING, environment_id=99)
    run = cloud.wait(cloud.trigger(QUICK)["id"])
    assert run["status_humanized"] == "Success"
    lost = cloud.get(f"runs/{broken}/")
    assert (lost["status_humanized"], "see its log" in lost["status_message"]) == ("Error", True)


def test_data_directory_can_be_inside_the_project(tmp_path: Path, tiny_account: Path) -> None:
    with running_cloud(tmp_path / "tiny" / ".local_dbt_cloud", tiny_account) as cloud:
        for _ in range(2):
            assert cloud.wait(cloud.trigger(QUICK)["id"])["status_humanized"] == "Success"


def test_folders_and_links_are_copied_as_git_clones_them(cloud: RunningCloud, tmp_path: Path) -> None:
    project = tmp_path / "tiny"
    for folder in ("models/logs", "models/target", "models/node_modules", "logs", "target"):
        (project / folder).mkdir()
        name = f"{folder.replace('/', '_')}.sql"
        (project / folder / name).write_text("select 1 as n")
    (project / "dangling.md").symlink_to("missing")
    (project / "models" / "linked.sql").symlink_to("logs/models_logs.sql")
    os.mkfifo(project / "pipe")
    run = cloud.wait(cloud.trigger(QUICK, steps_override=["dbt ls --output name"])["id"])
    assert run["is_success"], run["status_message"]
    listed = run["run_steps"][-1]["logs"].split()
    assert {"models_logs", "models_target", "models_node_modules", "linked"} <= set(listed)
    assert not {"logs", "target"} & set(listed)


@pytest.fixture
def slow_copy(cloud: RunningCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Copy files slowly and return an event that is set while one is copied."""
    for number in range(100):
        (tmp_path / "tiny" / f"{number}.md").touch()
    copying, copy2 = threading.Event(), shutil.copy2

    def copy_slowly(*arguments: Any, **options: Any) -> Any:
        copying.set()
        time.sleep(0.05)
        return copy2(*arguments, **options)

    monkeypatch.setattr(shutil, "copy2", copy_slowly)
    return copying


def test_cancel_during_the_copy_stops_it(cloud: RunningCloud, slow_copy: threading.Event) -> None:
    run_id = cloud.trigger(QUICK)["id"]
    assert slow_copy.wait(10)
    started = time.monotonic()
    assert cloud.cancel(run_id)["is_cancelled"]
    assert time.monotonic() - started < 2
    slow_copy.clear()
    assert not slow_copy.wait(0.5)
    assert not cloud.service.data.repository_copy(run_id).exists()


def test_reset_during_the_copy_does_not_disturb_the_next_run(
    cloud: RunningCloud, slow_copy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        slow_copy.clear()
        run_id = cloud.trigger(QUICK)["id"]
        assert slow_copy.wait(10)
        cloud.reset()
    monkeypatch.undo()
    again = cloud.trigger(QUICK)["id"]
    assert (again, cloud.wait(again)["status_message"]) == (run_id, None)


def test_failed_copy_is_reported_in_one_sentence(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a.sql")

    monkeypatch.setattr(shutil, "copy2", fail)
    run = cloud.wait(cloud.trigger(QUICK)["id"])
    assert run["status_message"] == "Cannot copy the project: [Errno 28] No space left on device: 'a.sql'."


def test_cancel_at_the_timeout_leaves_a_message(cloud: RunningCloud) -> None:
    run_id = cloud.trigger(SLOW, timeout_seconds_override=2)["id"]
    cloud.wait(run_id, until=lambda run: run["status"] == 3)
    time.sleep(1.9)
    for _ in range(20):
        cloud.client.post(f"runs/{run_id}/cancel/", timeout=30)
    assert cloud.get(f"runs/{run_id}/")["status_message"]


def test_project_without_a_profile_is_reported(cloud: RunningCloud, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "dbt_project.yml").write_text("{name: tiny}")
    run = cloud.wait(cloud.trigger(QUICK)["id"])
    assert run["status_humanized"] == "Error"
    assert "dbt_project.yml has no profile" in run["status_message"]
    assert [step["status"] for step in run["run_steps"]] == [10, 20]


def test_each_demo_job_that_should_succeed_does_so_on_an_empty_database(tmp_path: Path) -> None:
    for job_id in (100, 101):
        with running_cloud(tmp_path / str(job_id)) as cloud:
            assert cloud.wait(cloud.trigger(job_id)["id"])["is_success"]


def test_a_cancel_while_dbt_is_imported_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "__init__.py").write_text("raise KeyboardInterrupt")
    log = tmp_path / "log.txt"
    command = json.dumps({"arguments": ["build"], "environment": {}, "log": str(log)})
    with subprocess.Popen(
        [sys.executable, dbt_worker.__file__], env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as worker:  # fmt: skip
        assert worker.stdin
        assert worker.stdout
        print(command, file=worker.stdin, flush=True)
        assert worker.stdout.readline() == "1\n"
    assert log.read_text() == ""
