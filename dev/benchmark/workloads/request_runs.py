"""Request lists of runs or single runs from dbt Cloud, or trigger runs, and print how long that takes."""

import argparse
import asyncio
import json
import os
import random
import statistics
import time

import aiohttp


async def request_runs(options: argparse.Namespace) -> dict[str, float]:
    """Return the ``median`` and ``p99`` milliseconds of a request, and the requests ``per_second``."""
    connection = json.loads(os.environ["AIRFLOW_CONN_DBT_CONN"])
    api = f"https://{connection['host']}/api/v2/accounts/{connection['login']}/"
    headers = {"Authorization": f"Token {connection['password']}"}
    generator, milliseconds = random.Random(1), []  # noqa: S311 - not for security
    remaining = iter(range(options.times))

    async def send_requests(session: aiohttp.ClientSession) -> None:
        for _ in remaining:
            path, query = _random_request(generator, options.kind, options.history)
            start = time.perf_counter()
            async with session.get(path, params=query) as response:
                await response.read()
                assert response.status == 200, path
            milliseconds.append((time.perf_counter() - start) * 1000)

    async def trigger(session: aiohttp.ClientSession, job_id: int) -> None:
        start = time.perf_counter()
        async with session.post(f"jobs/{job_id}/run/", json={"cause": "Benchmark"}) as response:
            await response.read()
            assert response.status == 200, job_id
        milliseconds.append((time.perf_counter() - start) * 1000)

    async with aiohttp.ClientSession(api, headers=headers) as session:
        # Not measured: the handshakes of the connections.
        await asyncio.gather(*(_connect(session) for _ in range(options.concurrency + options.triggers)))
        start = time.perf_counter()
        await asyncio.gather(
            *(send_requests(session) for _ in range(options.concurrency)),
            *(trigger(session, job_id) for job_id in range(1, options.triggers + 1)),
        )
        seconds = time.perf_counter() - start
    p99 = statistics.quantiles(milliseconds, n=100)[-1]
    return {"median": statistics.median(milliseconds), "p99": p99, "per_second": options.times / seconds}


def _random_request(
    generator: random.Random, kind: str, history: int
) -> tuple[str, dict[str, str | int] | None]:
    if kind == "get":
        return f"runs/{generator.randrange(1, history)}/", None
    offset = generator.randrange(history - 100)
    return "runs/", {"job_definition_id": 1, "order_by": "-id", "limit": 100, "offset": offset}


async def _connect(session: aiohttp.ClientSession) -> None:
    async with session.get("jobs/") as response:
        await response.read()


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["list", "get"])
    parser.add_argument("history", type=int, help="number of runs")
    parser.add_argument("times", type=int, help="number of requests")
    parser.add_argument("concurrency", type=int, help="number of requests at a time")
    parser.add_argument("triggers", type=int, help="trigger this many jobs, from ID 1, at the same time")
    print(json.dumps(asyncio.run(request_runs(parser.parse_args()))))


if __name__ == "__main__":
    main()
