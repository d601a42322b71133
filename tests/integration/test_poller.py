"""One poller for all runs of an account: one request per poll, and tolerance for failed ones."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from local_dbt_cloud.testing import LocalDbtCloud

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun
from include.dbt_cloud.poller import RunPoller, Subscription
from tests.connection import connect
from tests.waiting import wait_until_async

SECONDS = 0.05


def requests(cloud: LocalDbtCloud) -> list[str]:
    """Return the paths and queries of the recorded requests."""
    return [f"{one['path']}?{one['query']}" for one in cloud.requests()]


def hook_with(**arguments: Any) -> DbtCloudHook:
    """Return a hook without a budget that would slow down the tests."""
    return DbtCloudHook("dbt_conn", max_requests_per_minute=6000, **arguments)


def watching(run_id: int, account_id: int = 1) -> Any:
    hook = hook_with(timeout_seconds=2)
    return RunPoller.subscribe(hook, account_id, run_id, SECONDS)


async def ended(subscription: Subscription) -> int:
    await wait_until_async(lambda: subscription.run and subscription.run.outcome)
    assert subscription.run
    return subscription.run.status


def test_a_run_is_seen_until_it_ends(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("running")

    async def watch() -> None:
        async with watching(run_id) as subscription:
            await wait_until_async(lambda: subscription.run)
            assert subscription.run
            assert (subscription.run.status, subscription.last_error) == (3, "")
            cloud.set_run(run_id, "error")
            assert await ended(subscription) == 20

    asyncio.run(watch())


def test_a_poll_is_one_request_per_hundred_runs_over_one_connection(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshakes: list[Any] = []
    wrap = ssl.SSLContext.wrap_bio

    def spy(self: ssl.SSLContext, *args: Any, **more: Any) -> ssl.SSLObject:
        handshakes.append(self)
        return wrap(self, *args, **more)

    monkeypatch.setattr(ssl.SSLContext, "wrap_bio", spy)
    run_ids = [cloud.create_run("running") for _ in range(250)]

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            subscriptions = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            await wait_until_async(lambda: all(subscription.run for subscription in subscriptions))
            assert len(cloud.requests()) <= 6
            # In a thread: the watcher runs meanwhile.
            await asyncio.to_thread(cloud.end_active_runs)
            await asyncio.gather(*(ended(subscription) for subscription in subscriptions))
            assert len(asyncio.all_tasks()) == 2
        # The poller ends with its last subscription.
        await wait_until_async(lambda: len(asyncio.all_tasks()) == 1)
        assert not RunPoller._pollers

    asyncio.run(watch())
    assert all("/runs?pk__in=" in request for request in requests(cloud))
    assert len(handshakes) == 1


def test_the_connection_is_read_again_while_dbt_cloud_answers(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.dbt_cloud.poller.SESSION_LIFETIME", 0.2)
    old, run_id = cloud.create_run("running"), cloud.create_run("running")

    async def watch() -> None:
        async with watching(old) as subscription:
            await wait_until_async(lambda: subscription.run)
            # The account has moved to another host.
            connect(monkeypatch, "localhost:1")
            await wait_until_async(lambda: subscription.last_error)
            connect(monkeypatch, cloud.host)
            async with watching(run_id) as other:
                await asyncio.to_thread(cloud.end_active_runs)
                assert await ended(other) == 10

    asyncio.run(watch())


@pytest.mark.parametrize(
    "trouble",
    [{"status": 500}, {"status": 429, "retry_after": 1}, {"drop": "before"}, {"drop": "after"},
     {"html": True}, {"status": 401}, {"hide_new_runs": 3600}, {"status": 502, "html": True}],
)  # fmt: skip
def test_a_failed_poll_keeps_its_error_and_is_tolerated(
    cloud: LocalDbtCloud, trouble: dict[str, Any]
) -> None:
    run_id = cloud.create_run("running")

    async def watch() -> None:
        cloud.add_fault("/runs", times=None, **trouble)
        async with watching(run_id) as subscription:
            await wait_until_async(lambda: subscription.changed.is_set())
            assert subscription.last_error
            assert "local-token" not in subscription.last_error
            assert subscription.run is None
            cloud.set_run(run_id, "success")
            cloud.clear_faults()
            assert await ended(subscription) == 10

    asyncio.run(watch())


def test_a_subscriber_is_woken_only_if_something_has_changed() -> None:
    subscription = Subscription(poll_interval=2)

    def wakes() -> bool:
        woken = subscription.changed.is_set()
        subscription.changed.clear()
        return woken

    subscription.update(JobRun(1, status=3))
    assert not wakes()
    subscription.fail("no answer")
    assert wakes()
    subscription.fail("no answer again")
    assert not wakes()
    assert subscription.last_error == "no answer again"
    subscription.update(JobRun(1, status=3))
    assert wakes()
    subscription.update(JobRun(1, status=10))
    assert wakes()


@pytest.fixture
def proxy() -> Iterator[str]:
    """The host and port of a proxy that lets nobody through."""

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_error(407)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=[0.05]).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("address", "trouble"),
    [
        ("http://user:hunter2@{}", "407, message='Proxy Authentication Required'"),
        ("http://user:hun/ter2@{}", "LocationParseError"),
    ],
)
def test_the_password_of_a_proxy_is_not_printed(
    cloud: LocalDbtCloud, proxy: str, monkeypatch: pytest.MonkeyPatch, address: str, trouble: str
) -> None:
    proxies = {"proxies": {"https": address.format(proxy)}}
    connect(monkeypatch, cloud.host, extra=proxies)

    async def watch() -> None:
        async with watching(cloud.create_run()) as subscription:
            await wait_until_async(lambda: subscription.changed.is_set())
            assert subscription.last_error == trouble

    asyncio.run(watch())


@pytest.mark.parametrize(
    ("variable", "scheme", "not_for"),
    [
        ("https_proxy", "http://", ""),
        ("https_proxy", "", ""),
        ("all_proxy", "http://", ""),
        ("https_proxy", "http://", "localhost"),
    ],
)
def test_the_proxy_of_the_environment_is_used(
    cloud: LocalDbtCloud,
    proxy: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    scheme: str,
    not_for: str,
) -> None:
    run_id = cloud.create_run()
    for name, value in {variable: f"{scheme}{proxy}", "no_proxy": not_for}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)

    async def watch() -> None:
        async with watching(run_id) as subscription:
            await wait_until_async(lambda: subscription.changed.is_set())
            assert bool(subscription.run) is bool(not_for)
            assert not_for or "407" in subscription.last_error

    asyncio.run(watch())


@pytest.mark.parametrize("status", [400, 404, 405])
def test_runs_are_requested_one_by_one_if_lists_of_ids_are_rejected(
    cloud: LocalDbtCloud, status: int
) -> None:
    run_ids = [cloud.create_run() for _ in range(3)]
    cloud.add_fault("/runs$", status=status)

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            subscriptions = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            assert [await ended(subscription) for subscription in subscriptions] == [10, 10, 10]

    asyncio.run(watch())
    assert sum("/runs?pk__in" in request for request in requests(cloud)) == 1


def test_a_run_missing_from_a_list_is_requested_by_itself(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/runs$", hide_new_runs=3600, times=None)

    async def watch() -> None:
        async with watching(run_id) as subscription:
            assert await ended(subscription) == 10

    asyncio.run(watch())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_one_run_that_cannot_be_read_does_not_hide_others(cloud: LocalDbtCloud, status: int) -> None:
    run_ids = [cloud.create_run() for _ in range(3)]
    cloud.add_fault("/runs$", status=405, times=None)
    cloud.add_fault(f"/runs/{run_ids[0]}$", status=status, times=None)

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            first, *others = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            assert [await ended(subscription) for subscription in others] == [10, 10]
            await wait_until_async(lambda: str(status) in first.last_error)

    asyncio.run(watch())


def test_a_shorter_poll_interval_does_not_wait_for_a_longer_one(cloud: LocalDbtCloud) -> None:
    slow, quick = cloud.create_run("running"), cloud.create_run()
    hook = hook_with(timeout_seconds=2)

    async def watch() -> None:
        async with RunPoller.subscribe(hook, 1, slow, 3600) as subscription:
            await wait_until_async(lambda: subscription.run)
            async with RunPoller.subscribe(hook, 1, quick, SECONDS) as other:
                await ended(other)
            seen = len(cloud.requests())
            await asyncio.sleep(10 * SECONDS)
            # Without the quick subscription, only the slow interval applies.
            assert len(cloud.requests()) <= seen + 2

    asyncio.run(watch())


def test_one_account_does_not_delay_another(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/accounts/2/", delay=60, times=None)

    async def watch() -> None:
        async with watching(run_id, account_id=2) as other, watching(run_id) as subscription:
            assert await ended(subscription) == 10
            assert other.run is None

    asyncio.run(watch())


def test_a_changed_token_is_used_without_a_restart(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cloud.create_run()
    connect(monkeypatch, cloud.host, token="old")

    async def watch() -> None:
        async with watching(run_id) as subscription:
            await wait_until_async(lambda: "401" in subscription.last_error)
            connect(monkeypatch, cloud.host)
            assert await ended(subscription) == 10

    asyncio.run(watch())


def test_a_run_that_cannot_be_read_hides_no_other(
    cloud: LocalDbtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = cloud.create_run(), cloud.create_run()
    from_api = JobRun.from_api

    def refuse(data: Any) -> JobRun:
        if data["id"] == broken:
            raise ValueError("not a run of dbt Cloud")
        return from_api(data)

    monkeypatch.setattr(JobRun, "from_api", refuse)

    async def watch() -> None:
        async with watching(broken) as other, watching(good) as subscription:
            assert await ended(subscription) == 10
            assert other.run is None

    asyncio.run(watch())


def test_each_task_keeps_its_own_time_limit(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run()
    cloud.add_fault("/runs", delay=1, times=None)
    patient, hasty = (hook_with(timeout_seconds=seconds) for seconds in (20, 0.3))

    async def watch() -> None:
        async with (
            RunPoller.subscribe(patient, 1, run_id, SECONDS) as first,
            RunPoller.subscribe(hasty, 1, run_id, SECONDS) as second,
        ):
            assert await ended(first) == 10
            assert "Timeout" in second.last_error

    asyncio.run(watch())


def test_hundreds_of_waiting_runs_keep_to_the_budget(cloud: LocalDbtCloud) -> None:
    run_ids = [cloud.create_run("running") for _ in range(300)]
    hook = DbtCloudHook("dbt_conn", max_requests_per_minute=30)

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            subscriptions = [
                await stack.enter_async_context(RunPoller.subscribe(hook, 1, run_id, 0.5))
                for run_id in run_ids
            ]
            await wait_until_async(lambda: all(subscription.run for subscription in subscriptions))
            (poller,) = RunPoller._pollers.values()
            # Each poll is three requests; the budget is thirty a minute.
            assert poller._pause() == 6

    asyncio.run(watch())


def test_a_rate_limit_slows_down_all_runs_of_an_account(cloud: LocalDbtCloud) -> None:
    run_id = cloud.create_run("running")
    hooks = [hook_with(timeout_seconds=seconds) for seconds in (3, 4)]

    async def watch() -> None:
        async with (
            RunPoller.subscribe(hooks[0], 1, run_id, SECONDS) as first,
            RunPoller.subscribe(hooks[1], 1, run_id, SECONDS),
        ):
            await wait_until_async(lambda: first.run)
            cloud.add_fault("/runs", status=429, retry_after=60)
            await wait_until_async(lambda: cloud.faults() == [])
            await asyncio.sleep(4 * SECONDS)
            seen = len(cloud.requests())
            await asyncio.sleep(10 * SECONDS)
            # Nor does a new task with a shorter interval end the pause.
            async with RunPoller.subscribe(hooks[0], 1, run_id, SECONDS / 2):
                await asyncio.sleep(10 * SECONDS)
            assert len(cloud.requests()) == seen

    asyncio.run(watch())
