"""Runs that end become events: one request for all watchers, none lost, and no error ends a watcher."""

import asyncio
import json
import logging
import os
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from airflow.triggers.shared_stream import SharedStreamManager
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud import hook, run_cursor, run_events, run_feed
from include.dbt_cloud.model_assets import model_asset
from include.dbt_cloud.run_events import DbtCloudRunEventTrigger, watched_asset, watched_model
from include.dbt_cloud.run_tags import run_tag
from tests.connection import connect
from tests.integration.run_results import result, step
from tests.integration.triggerer import Database, started, triggerer
from tests.task_instance import TaskInstance
from tests.waiting import wait_until_async

SECONDS = 0.05
OWN_TAG = run_tag(TaskInstance(), "a-deployment")
OWN = f"Triggered by Airflow: a_dag {OWN_TAG}"


def watching(asset: str = "runs", **arguments: Any) -> DbtCloudRunEventTrigger:
    return DbtCloudRunEventTrigger(asset, **{"poll_interval": SECONDS} | arguments)


async def create_run(cloud: LocalDbtCloud, *arguments: Any, **fields: Any) -> int:
    # In a thread: the watchers run meanwhile.
    return await asyncio.to_thread(cloud.create_run, *arguments, **fields)


def test_a_run_that_ends_is_an_event(cloud: LocalDbtCloud) -> None:
    database = Database()

    async def watch() -> int:
        async with triggerer(database, watching()):
            await started(database, "runs")
            run_id = await create_run(cloud, "error", cause="Scheduled", status_message="dbt failed")
            await wait_until_async(lambda: database.run_ids("runs"))
        return run_id

    run_id = asyncio.run(watch())
    (event,) = database.events["runs"]
    run = cloud.get(f"runs/{run_id}/", include_related="trigger,job")
    assert json.loads(json.dumps(event)) == {
        "run_id": run_id,
        "job_id": 101,
        "job_name": "Build jaffle shop",
        "outcome": "error",
        "message": f"dbt Cloud run {run_id} ended: Error. dbt failed See {run['href']}",
        "href": run["href"],
        "cause": "Scheduled",
        "git_sha": None,
        "created_at": run["created_at"],
        "started_at": run["started_at"].replace(" ", "T"),
        "finished_at": run["finished_at"].replace(" ", "T"),
    }


def test_the_first_start_does_not_replay_history(cloud: LocalDbtCloud) -> None:
    database = Database()
    for _ in range(3):
        cloud.create_run()

    async def watch() -> int:
        async with triggerer(database, watching()):
            await started(database, "runs")
            run_id = await create_run(cloud)
            await wait_until_async(lambda: database.run_ids("runs"))
        return run_id

    assert [asyncio.run(watch())] == database.run_ids("runs")


@pytest.mark.parametrize("watchers", [1, 10, 100])
def test_a_poll_is_one_request_for_any_number_of_watched_jobs(cloud: LocalDbtCloud, watchers: int) -> None:
    database = Database()
    jobs = [101, 102, *range(1000, 1098)][:watchers]
    triggers = [watching(f"job_{job_id}", job_ids=[job_id], poll_interval=0.3) for job_id in jobs]

    async def watch() -> int:
        async with triggerer(database, *triggers):
            await started(database, *(f"job_{job_id}" for job_id in jobs))
            polls = len(cloud.requests())
            run_id = await create_run(cloud, job_id=101)
            await wait_until_async(lambda: database.run_ids("job_101"))
            assert len(cloud.requests()) <= polls + 3
        return run_id

    run_id = asyncio.run(watch())
    assert database.run_ids("job_101") == [run_id]
    assert sum(len(events) for events in database.events.values()) == 1
    assert {one["path"] for one in cloud.requests()} == {"/api/v2/accounts/1/runs"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, ["success", "error", "cancelled", "102", "another"]),
        ({"outcomes": ["error", "cancelled"]}, ["error", "cancelled"]),
        ({"job_ids": [102, "{{ var.value.another_job }}"]}, ["102", "another"]),
        ({"job_ids": ["{{ var.value.dbt_cloud_job_id }}"], "outcomes": ["success"]}, ["success"]),
        ({"include_own": True, "outcomes": ["success"]}, ["success", "102", "another", "own", "own lineage"]),
    ],
)
def test_a_watcher_filters_by_job_outcome_and_own_runs(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], wanted: list[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DBT_CLOUD_JOB_ID", "101")
    monkeypatch.setenv("AIRFLOW_VAR_ANOTHER_JOB", "7")
    database, names = Database(), {}

    async def watch() -> None:
        async with triggerer(database, watching(**arguments), watching("all", include_own=True)):
            await started(database, "runs", "all")
            for outcome in ("success", "error", "cancelled"):
                names[await create_run(cloud, outcome)] = outcome
            names[await create_run(cloud, job_id=102)] = "102"
            names[await create_run(cloud, cause=OWN)] = "own"
            of_another = f"x {run_tag(TaskInstance(), 'another-deployment')}"
            names[await create_run(cloud, job_id=102, cause=of_another)] = "another"
            lineage = json.dumps({"parent": {"runId": "1"}, "tag": OWN_TAG})
            names[await create_run(cloud, cause=lineage)] = "own lineage"
            await wait_until_async(lambda: len(database.run_ids("all")) == len(names))

    asyncio.run(watch())
    assert sorted(names[run_id] for run_id in database.run_ids("runs")) == sorted(wanted)


def test_a_retry_of_an_own_run_is_an_own_run(held: LocalDbtCloud) -> None:
    database = Database()
    failed = [step([result("model.shop.orders", "error")]) | {"status": 20}]

    async def watch() -> int:
        async with triggerer(database, watching()):
            await started(database, "runs")
            own = await create_run(held, "error", cause=OWN, steps=failed)
            retry = (await asyncio.to_thread(held.post, f"runs/{own}/retry/"))["id"]
            await asyncio.to_thread(held.set_run, retry, "error")
            foreign = await create_run(held, "error", steps=failed)
            retry = (await asyncio.to_thread(held.post, f"runs/{foreign}/retry/"))["id"]
            await asyncio.to_thread(held.set_run, retry, "success")
            await wait_until_async(lambda: len(database.run_ids("runs")) == 2)
        return foreign

    foreign = asyncio.run(watch())
    assert database.run_ids("runs") == [foreign, foreign + 1]


@pytest.mark.parametrize("fault", [{"status": 503}, {"html": True}], ids=str)
def test_the_watcher_of_a_model_fires_for_runs_that_built_it(
    cloud: LocalDbtCloud, fault: dict[str, Any]
) -> None:
    database = Database()
    steps = [step([result("model.shop.orders"), result("model.shop.reused", "reused")])]
    models = ["shop.orders", "shop.reused", "shop.not_selected"]

    async def watch() -> int:
        async with triggerer(database, *(watching(model, model=model) for model in models), watching("all")):
            await started(database, *models, "all")
            await create_run(cloud, "error", steps=steps)
            await create_run(cloud, cause=OWN, steps=steps)
            await create_run(cloud)
            cloud.add_fault("/artifacts/", **fault)
            run_id = await create_run(cloud, steps=steps)
            await wait_until_async(lambda: database.run_ids("shop.orders"))
        return run_id

    run_id = asyncio.run(watch())
    assert database.run_ids("shop.orders") == [run_id]
    assert set(database.events) == {"shop.orders", "all"}
    assert database.events["shop.orders"][0]["execution_time"] == 1.0
    paths = [one["path"] for one in cloud.requests() if "artifacts" in one["path"]]
    # One for all three watchers, again after the 503, and one for the run without results.
    assert 3 <= len(paths) <= 5


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 410}], ids=str)
def test_results_that_cannot_be_read_do_not_hold_up_later_runs(
    cloud: LocalDbtCloud, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    database = Database()
    odd = [{"unique_id": "model.shop.a", "adapter_response": "x"}, {"status": "success"}, {"unique_id": 7}, 8]
    artifacts = {"run_results.json": {"results": odd}}

    async def watch() -> tuple[int, int]:
        async with triggerer(database, watching("shop.orders", model="shop.orders")):
            await started(database, "shop.orders")
            # Before the run ends, and the watcher reads it.
            hidden = 1 + await create_run(cloud, steps=[{"command": "dbt build", "artifacts": artifacts}])
            await asyncio.to_thread(cloud.add_fault, f"/runs/{hidden}/artifacts/", times=None, **fault)
            assert await create_run(cloud, steps=[step([result("model.shop.orders")])]) == hidden
            run_id = await create_run(cloud, steps=[step([result("model.shop.orders")])])
            await wait_until_async(lambda: database.run_ids("shop.orders"))
        return hidden, run_id

    hidden, run_id = asyncio.run(watch())
    assert database.run_ids("shop.orders") == [run_id]
    assert caplog.text.count(f"Cannot read the models of dbt Cloud run {hidden}, going on without it: ") == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"delay": 2}], ids=str)
def test_results_that_are_unreadable_for_long_do_not_hold_up_later_runs(
    cloud: LocalDbtCloud,
    fault: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_feed, "MODELS_TOLERANCE", 1)
    monkeypatch.setattr(hook, "DEFAULT_TIMEOUT", 0.5)
    database = Database()
    steps = [step([result("model.shop.orders")])]

    async def watch() -> tuple[int, int]:
        async with triggerer(database, watching("shop.orders", model="shop.orders")):
            await started(database, "shop.orders")
            hidden = 1 + await create_run(cloud)
            await asyncio.to_thread(cloud.add_fault, f"/runs/{hidden}/artifacts/", times=None, **fault)
            assert await create_run(cloud, steps=steps) == hidden
            run_id = await create_run(cloud, steps=steps)
            await wait_until_async(lambda: database.run_ids("shop.orders"))
        return hidden, run_id

    hidden, run_id = asyncio.run(watch())
    assert database.run_ids("shop.orders") == [run_id]
    for then in ("trying again", "going on without it"):
        assert caplog.text.count(f"Cannot read the models of dbt Cloud run {hidden}, {then}: ") == 1


def test_artifacts_that_take_longer_than_airflow_waits_are_read_in_parts(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "READ_TIMEOUT", 0.6)
    impatient = partial(SharedStreamManager, ack_timeout=2.5)
    monkeypatch.setattr("tests.integration.triggerer.SharedStreamManager", impatient)
    database = Database()

    async def watch() -> list[int]:
        async with triggerer(database, watching("shop.orders", model="shop.orders")):
            await started(database, "shop.orders")
        steps = [step([result("model.shop.orders")])]
        run_ids = [await create_run(cloud, steps=steps) for _ in range(12)]
        await asyncio.to_thread(cloud.add_fault, "/artifacts/", times=None, delay=0.25)
        # It ends with an exception if Airflow stops waiting for it.
        async with triggerer(database, watching("shop.orders", model="shop.orders")):
            await wait_until_async(lambda: database.run_ids("shop.orders"))
            await wait_until_async(lambda: str(run_ids[-1]) in str(database.states))
        return run_ids

    assert asyncio.run(watch()) == database.run_ids("shop.orders")
    assert sum("/artifacts/" in one["path"] for one in cloud.requests()) < 24


def test_a_retried_run_that_cannot_be_read_does_not_hold_up_later_runs(held: LocalDbtCloud) -> None:
    database = Database()
    failed = [step([result("model.shop.orders", "error")]) | {"status": 20}]
    retried = held.create_run("error", cause=OWN, steps=failed)
    held.add_fault(f"/runs/{retried}$", method="GET", status=403, times=None)

    async def watch() -> list[int]:
        async with triggerer(database, watching()):
            await started(database, "runs")
            retry = (await asyncio.to_thread(held.post, f"runs/{retried}/retry/"))["id"]
            await asyncio.to_thread(held.set_run, retry, "success")
            run_id = await create_run(held)
            await wait_until_async(lambda: run_id in database.run_ids("runs"))
        return [retry, run_id]

    assert asyncio.run(watch()) == database.run_ids("runs")


def test_a_watcher_that_cannot_advance_does_not_hold_up_the_others(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "MAX_PAGES", 1)
    monkeypatch.setattr(run_feed, "PAGE_SIZE", 3)
    monkeypatch.setattr(run_cursor, "OVERLAP", timedelta(0))
    monkeypatch.setattr(run_feed, "OVERLAP", timedelta(0))
    database = Database()

    async def watch() -> int:
        async with triggerer(database, watching(), watching("stuck", job_ids=["{{ var.value.missing }}"])):
            await started(database, "runs", "stuck")
            for _ in range(12):
                run_id = await create_run(cloud)
            await wait_until_async(lambda: run_id in database.run_ids("runs"))
        return run_id

    asyncio.run(watch())
    assert len(database.run_ids("runs")) == len(set(database.run_ids("runs"))) == 12


def test_the_pause_that_dbt_cloud_asks_for_is_kept(cloud: LocalDbtCloud) -> None:
    database = Database()

    async def watch() -> None:
        async with triggerer(database, watching()):
            await started(database, "runs")
            cloud.add_fault("/runs", status=429, retry_after=3, times=None)
            cloud.clear_requests()
            await asyncio.sleep(20 * SECONDS)

    asyncio.run(watch())
    assert 1 <= len(cloud.requests()) <= 2


def test_the_watched_asset_of_a_model_is_the_one_that_tasks_update() -> None:
    asset = watched_model("shop.orders")
    assert (asset.name, asset.uri) == (model_asset("shop.orders").name, model_asset("shop.orders").uri)
    trigger = asset.watchers[0].trigger
    assert isinstance(trigger, DbtCloudRunEventTrigger)
    assert trigger.model == "shop.orders"


def test_runs_that_ended_while_no_triggerer_ran_are_events(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "PAGE_SIZE", 7)
    monkeypatch.setattr(run_feed, "MAX_PAGES", 2)
    # Otherwise each poll reads all of them again: they end within the overlap.
    for module in (run_feed, run_events, run_cursor):
        monkeypatch.setattr(module, "OVERLAP", timedelta(milliseconds=10))
    database = Database()

    async def start() -> None:
        async with triggerer(database, watching()):
            await started(database, "runs")

    asyncio.run(start())
    run_ids = [cloud.create_run() for _ in range(60)]
    cloud.clear_requests()

    async def catch_up() -> None:
        async with triggerer(database, watching()):
            await wait_until_async(lambda: len(database.run_ids("runs")) >= 60)

    asyncio.run(catch_up())
    assert database.run_ids("runs") == run_ids
    polls = [one for one in cloud.requests() if one["query"].endswith("offset=0")]
    # At most 14 runs a poll.
    assert 5 <= len(polls) <= 12
    assert len(cloud.requests()) <= 2 * len(polls)


def test_a_new_watcher_gets_no_past_runs_while_another_catches_up(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_feed, "PAGE_SIZE", 2)
    monkeypatch.setattr(run_feed, "MAX_PAGES", 1)
    database = Database()

    async def start() -> None:
        async with triggerer(database, watching()):
            await started(database, "runs")

    asyncio.run(start())
    for _ in range(20):
        cloud.create_run()

    async def catch_up() -> None:
        async with triggerer(database, watching(), watching("new")):
            await started(database, "new")
            run_id = await create_run(cloud)
            await wait_until_async(lambda: run_id in database.run_ids("runs") + database.run_ids("new"))
            await wait_until_async(lambda: database.run_ids("new"))
            assert database.run_ids("new") == [run_id]

    asyncio.run(catch_up())
    assert len(database.run_ids("runs")) == 21


@pytest.mark.parametrize("seed", range(int(os.environ.get("RANDOM_LIFECYCLES", 15))))
def test_kills_between_event_and_cursor_lose_no_run(cloud: LocalDbtCloud, seed: int) -> None:
    random, database, created = Random(seed), Database(), []

    async def start() -> None:
        async with triggerer(database, watching()):
            await started(database, "runs")

    asyncio.run(start())

    async def live(survives: Any, runs: int) -> None:
        async with triggerer(database, watching(), survives=survives) as one:
            for _ in range(runs):
                created.append(await create_run(cloud))
            await wait_until_async(lambda: not one.is_alive or set(created) <= set(database.run_ids("runs")))
            await asyncio.sleep(random.choice([0, SECONDS]))

    for _ in range(3):
        steps = iter(range(100))
        last = random.randrange(6)
        asyncio.run(live(lambda step, steps=steps, last=last: next(steps) < last, random.randint(1, 3)))
    asyncio.run(live(lambda step: True, 1))
    assert set(database.run_ids("runs")) == set(created)
    # Each kill repeats at most the events of one poll.
    assert len(database.run_ids("runs")) <= 4 * len(created)


def test_the_cursor_is_saved_after_the_event(cloud: LocalDbtCloud) -> None:
    database = Database()

    async def watch() -> None:
        async with triggerer(database, watching(), survives=lambda step: step == "store"):
            await started(database, "runs")
            before = database.states["runs"]
            await create_run(cloud)
            await wait_until_async(lambda: database.run_ids("runs"))
            await asyncio.sleep(3 * SECONDS)
            assert database.states["runs"] == before

    asyncio.run(watch())


def test_the_cursor_of_an_idle_watcher_is_saved_occasionally(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database()

    async def watch() -> None:
        async with triggerer(database, watching("idle", job_ids=[7])):
            await started(database, "idle")
            first = database.states["idle"]
            await create_run(cloud)
            await asyncio.sleep(4 * SECONDS)
            # A write for each run of the account would be too many.
            assert database.states["idle"] == first
            monkeypatch.setattr(run_events, "OVERLAP", run_events.OVERLAP * 0)
            await create_run(cloud)
            await wait_until_async(lambda: database.states["idle"] != first)

    asyncio.run(watch())
    assert not database.events


@pytest.mark.parametrize(
    "trouble",
    [{"status": 500}, {"status": 429, "retry_after": 1}, {"drop": "before"}, {"html": True}, {"status": 401}],
    ids=str,
)
def test_an_outage_ends_no_watcher_and_is_logged_once(
    cloud: LocalDbtCloud, caplog: pytest.LogCaptureFixture, trouble: dict[str, Any]
) -> None:
    database = Database()
    caplog.set_level(logging.INFO, "include.dbt_cloud.run_feed")

    async def watch() -> int:
        async with triggerer(database, watching()):
            await started(database, "runs")
            cloud.add_fault("/runs", times=None, **trouble)
            run_id = await create_run(cloud)
            before = len(cloud.requests())
            await wait_until_async(lambda: len(cloud.requests()) > before + 3)
            assert not database.events
            cloud.clear_faults()
            await wait_until_async(lambda: database.run_ids("runs") == [run_id])
        return run_id

    asyncio.run(watch())
    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("Cannot read the runs of dbt Cloud through 'dbt_conn', trying again: ")
    assert last.startswith("Read the runs of dbt Cloud through 'dbt_conn' again after ")
    assert "local-token" not in caplog.text


def test_a_missing_connection_ends_no_watcher(cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    monkeypatch.delenv("AIRFLOW_CONN_DBT_CONN")

    async def watch() -> None:
        async with triggerer(database, watching()):
            await asyncio.sleep(4 * SECONDS)
            connect(monkeypatch, cloud.host)
            await started(database, "runs")

    asyncio.run(watch())


def test_a_missing_variable_postpones_events(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database()

    async def watch() -> None:
        async with triggerer(database, watching(job_ids=["{{ var.value.later }}"])):
            await started(database, "runs")
            run_id = await create_run(cloud)
            await wait_until_async(lambda: "later" in caplog.text)
            monkeypatch.setenv("AIRFLOW_VAR_LATER", "101")
            await wait_until_async(lambda: database.run_ids("runs") == [run_id])

    asyncio.run(watch())
    assert caplog.text.count("Cannot read") == 1


def test_a_run_that_is_listed_late_is_an_event(cloud: LocalDbtCloud) -> None:
    database = Database()

    async def watch() -> None:
        async with triggerer(database, watching()):
            await started(database, "runs")
            cloud.add_fault("/runs$", hide_new_runs=1, times=None)
            late = await create_run(cloud)
            cloud.clear_faults()
            cloud.add_fault("/runs$", hide_new_runs=1, times=None)
            await wait_until_async(lambda: database.run_ids("runs") == [late])

    asyncio.run(watch())


def test_two_triggerers_lose_no_run(cloud: LocalDbtCloud) -> None:
    database = Database()

    async def watch() -> list[int]:
        async with triggerer(database, watching()):
            await started(database, "runs")
            # Another one took the trigger over while this one was frozen: both fire for a while.
            async with triggerer(database, watching()):
                run_ids = [await create_run(cloud) for _ in range(3)]
                await wait_until_async(lambda: len(database.run_ids("runs")) == 6)
        return run_ids

    assert set(asyncio.run(watch())) == set(database.run_ids("runs"))


def test_triggers_of_two_assets_differ(cloud: LocalDbtCloud) -> None:
    one, other = (watched_asset(name).watchers[0].trigger for name in ("one", "other"))
    assert one.serialize() != other.serialize()
    assert one.shared_stream_key() == other.shared_stream_key()


def test_triggers_of_another_class_do_not_share_polls() -> None:
    class Other(DbtCloudRunEventTrigger):
        pass

    assert Other("a").shared_stream_key() != DbtCloudRunEventTrigger("a").shared_stream_key()


def test_an_unknown_outcome_is_an_error() -> None:
    with pytest.raises(ValueError, match="A dbt Cloud run has no outcome succes"):
        DbtCloudRunEventTrigger("a", outcomes=["succes", "error"])
