"""Asks a dbt Cloud for lists of runs or for single runs, one after the other or several at once."""

import argparse
import asyncio
import json
import os
import random
import statistics
import time

import aiohttp


async def ask(options: argparse.Namespace) -> dict[str, float]:
    """Return the ``median`` and ``p99`` milliseconds of a request, and requests ``a_second``."""
    connection = json.loads(os.environ["AIRFLOW_CONN_DBT_CONN"])
    api = f"https://{connection['host']}/api/v2/accounts/{connection['login']}/"
    headers = {"Authorization": f"Token {connection['password']}"}
    chance, milliseconds = random.Random(1), []  # noqa: S311 - it picks runs
    numbers = iter(range(options.times))

    async def ask_again_and_again(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            if options.what == "list":
                path, query = "runs/", {"job_definition_id": 1, "order_by": "-id", "limit": 100}
                query["offset"] = chance.randrange(options.history - 100)
            else:
                path, query = f"runs/{chance.randrange(1, options.history)}/", {}
            start = time.perf_counter()
            async with session.get(path, params=query) as answer:
                await answer.read()
                assert answer.status == 200, path
            milliseconds.append((time.perf_counter() - start) * 1000)

    async with aiohttp.ClientSession(api, headers=headers) as session:
        # The handshakes come before.
        await asyncio.gather(*(_touch(session) for _ in range(options.at_once)))
        start = time.perf_counter()
        await asyncio.gather(*(ask_again_and_again(session) for _ in range(options.at_once)))
        seconds = time.perf_counter() - start
    p99 = statistics.quantiles(milliseconds, n=100)[-1]
    return {"median": statistics.median(milliseconds), "p99": p99, "a_second": options.times / seconds}


async def _touch(session: aiohttp.ClientSession) -> None:
    async with session.get("jobs/") as answer:
        await answer.read()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["list", "get"])
    parser.add_argument("history", type=int)
    parser.add_argument("times", type=int)
    parser.add_argument("at_once", type=int)
    print(json.dumps(asyncio.run(ask(parser.parse_args()))))


if __name__ == "__main__":
    main()
