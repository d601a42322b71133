"""One watcher for all runs of an account: one request a round, patience with whatever goes wrong."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.watcher import RunWatcher, Sight
from local_dbt_cloud.api.fault_middleware import FaultInjectionMiddleware
from local_dbt_cloud.database import Run, RunStatus
from tests.connection import connect
from tests.running_cloud import RunningCloud

SECONDS = 0.05


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths and queries that reach the local dbt Cloud."""
    seen: list[str] = []
    call = FaultInjectionMiddleware.__call__

    async def spy(self: FaultInjectionMiddleware, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(f"{scope['path']}?{scope['query_string'].decode()}")
        await call(self, scope, receive, send)

    monkeypatch.setattr(FaultInjectionMiddleware, "__call__", spy)
    return seen


def end(cloud: RunningCloud, run_id: int, status: RunStatus = RunStatus.SUCCESS) -> None:
    with cloud.service.sessions.begin() as session:
        session.get_one(Run, run_id).status = status


def watching(run_id: int, account_id: int = 1) -> Any:
    hook = DbtCloudHook("dbt_conn", timeout_seconds=2)
    return RunWatcher.watching(hook, account_id, run_id, SECONDS)


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


async def ended(sight: Sight) -> int:
    await asyncio.wait_for(sight.ended.wait(), 20)
    assert sight.run
    return sight.run["status"]


def test_a_run_is_seen_until_it_ends(cloud: RunningCloud) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)

    async def watch() -> None:
        async with watching(run_id) as sight:
            await until(lambda: sight.run)
            assert sight.run
            assert (sight.run["status"], sight.trouble) == (3, "")
            end(cloud, run_id, RunStatus.ERROR)
            assert await ended(sight) == 20

    asyncio.run(watch())


def test_a_round_is_one_request_for_a_hundred_runs_over_one_connection(
    cloud: RunningCloud, requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handshakes: list[Any] = []
    wrap = ssl.SSLContext.wrap_bio

    def spy(self: ssl.SSLContext, *args: Any, **more: Any) -> ssl.SSLObject:
        # The server of this same process has its own.
        if not more.get("server_side"):
            handshakes.append(self)
        return wrap(self, *args, **more)

    monkeypatch.setattr(ssl.SSLContext, "wrap_bio", spy)
    run_ids = [cloud.add_run(RunStatus.RUNNING) for _ in range(250)]

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            sights = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            await until(lambda: all(sight.run for sight in sights))
            assert len(requests) <= 6
            for run_id in run_ids:
                end(cloud, run_id)
            await asyncio.gather(*(ended(sight) for sight in sights))
            assert len(asyncio.all_tasks()) == 2
        # The watcher ends with the last one who waits.
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1
        assert not RunWatcher._watchers

    asyncio.run(watch())
    assert all("/runs?pk__in=" in request for request in requests)
    assert len(handshakes) == 1


@pytest.mark.parametrize(
    "trouble",
    [{"status": 500}, {"status": 429, "retry_after": 1}, {"drop": "before"}, {"drop": "after"},
     {"html": True}, {"status": 401}, {"hide_new_runs": 3600}, {"status": 502, "html": True}],
)  # fmt: skip
def test_a_failed_round_is_a_reason_to_wait_and_says_why(
    cloud: RunningCloud, trouble: dict[str, Any]
) -> None:
    run_id = cloud.add_run(RunStatus.RUNNING)

    async def watch() -> None:
        cloud.post(f"{cloud.api_url}/local/faults", {"path": "/runs", "times": None, **trouble})
        async with watching(run_id) as sight:
            await until(lambda: sight.trouble != "not asked yet")
            assert sight.trouble
            assert "local-token" not in sight.trouble
            assert sight.run is None
            end(cloud, run_id)
            cloud.service.faults.clear()
            assert await ended(sight) == 10

    asyncio.run(watch())


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
def test_the_password_of_a_proxy_is_not_said(
    cloud: RunningCloud, proxy: str, monkeypatch: pytest.MonkeyPatch, address: str, trouble: str
) -> None:
    proxies = {"proxies": {"https": address.format(proxy)}}
    connect(monkeypatch, f"localhost:{cloud.api_port}", extra=proxies)

    async def watch() -> None:
        async with watching(cloud.add_run()) as sight:
            await until(lambda: sight.trouble != "not asked yet")
            assert sight.trouble == trouble

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
    cloud: RunningCloud, proxy: str, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str, not_for: str
) -> None:
    run_id = cloud.add_run()
    for name, value in {variable: f"{scheme}{proxy}", "no_proxy": not_for}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)

    async def watch() -> None:
        async with watching(run_id) as sight:
            await until(lambda: sight.trouble != "not asked yet")
            assert bool(sight.run) is bool(not_for)
            assert not_for or "407" in sight.trouble

    asyncio.run(watch())


@pytest.mark.parametrize("status", [400, 404, 405])
def test_where_lists_of_ids_are_refused_each_run_is_asked_for_by_itself(
    cloud: RunningCloud, requests: list[str], status: int
) -> None:
    run_ids = [cloud.add_run() for _ in range(3)]
    cloud.post(f"{cloud.api_url}/local/faults", {"path": "/runs$", "status": status})

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            sights = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            assert [await ended(sight) for sight in sights] == [10, 10, 10]

    asyncio.run(watch())
    assert sum("/runs?pk__in" in request for request in requests) == 1


def test_a_run_that_a_list_leaves_out_is_asked_for_by_itself(cloud: RunningCloud) -> None:
    run_id = cloud.add_run()
    cloud.post(f"{cloud.api_url}/local/faults", {"path": "/runs$", "hide_new_runs": 3600, "times": None})

    async def watch() -> None:
        async with watching(run_id) as sight:
            assert await ended(sight) == 10

    asyncio.run(watch())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_one_run_that_is_not_shown_hides_no_other(cloud: RunningCloud, status: int) -> None:
    run_ids = [cloud.add_run() for _ in range(3)]
    cloud.post(f"{cloud.api_url}/local/faults", {"path": "/runs$", "status": 405, "times": None})
    cloud.post(
        f"{cloud.api_url}/local/faults", {"path": f"/runs/{run_ids[0]}$", "status": status, "times": None}
    )

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            first, *others = [await stack.enter_async_context(watching(run_id)) for run_id in run_ids]
            assert [await ended(sight) for sight in others] == [10, 10]
            await until(lambda: str(status) in first.trouble)

    asyncio.run(watch())


def test_who_comes_in_a_hurry_does_not_wait_for_the_slow(cloud: RunningCloud, requests: list[str]) -> None:
    slow, quick = cloud.add_run(RunStatus.RUNNING), cloud.add_run()
    hook = DbtCloudHook("dbt_conn", timeout_seconds=2)

    async def watch() -> None:
        async with RunWatcher.watching(hook, 1, slow, 3600) as sight:
            await until(lambda: sight.run)
            async with RunWatcher.watching(hook, 1, quick, SECONDS) as other:
                await ended(other)
            seen = len(requests)
            await asyncio.sleep(10 * SECONDS)
            # And when it is gone, the pace is the slow one's again.
            assert len(requests) <= seen + 2

    asyncio.run(watch())


def test_one_account_does_not_delay_another(cloud: RunningCloud) -> None:
    run_id = cloud.add_run()
    cloud.post(f"{cloud.api_url}/local/faults", {"path": "/accounts/2/", "delay": 60, "times": None})

    async def watch() -> None:
        async with watching(run_id, account_id=2) as other, watching(run_id) as sight:
            assert await ended(sight) == 10
            assert other.run is None

    asyncio.run(watch())


def test_a_changed_token_is_used_without_a_restart(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cloud.add_run()
    connect(monkeypatch, f"localhost:{cloud.api_port}", token="old")

    async def watch() -> None:
        async with watching(run_id) as sight:
            await until(lambda: "401" in sight.trouble)
            connect(monkeypatch, f"localhost:{cloud.api_port}")
            assert await ended(sight) == 10

    asyncio.run(watch())
