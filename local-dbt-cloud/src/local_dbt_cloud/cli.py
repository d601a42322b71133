"""The command ``local-dbt-cloud``: serve the API and the pages until a signal arrives."""

import argparse
import asyncio
import fcntl
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv import load_dotenv

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.errors import UserError
from local_dbt_cloud.server import serve
from local_dbt_cloud.service import open_service

MAX_HISTORY = 1_000_000
DEMO_ACCOUNT = Path(__file__).parent / "demo" / "account.yaml"


def arguments() -> argparse.Namespace:
    """Read the command line; environment variables give the defaults."""
    parser = argparse.ArgumentParser(
        prog="local-dbt-cloud",
        description="Emulate dbt Cloud on this machine: its API over TLS, its pages over plain HTTP.",
        epilog="LOCAL_DBT_CLOUD_TOKEN sets the API token that clients must send (default: local-token).",
    )
    parser.add_argument(
        "--api-port",
        type=int,
        default=os.environ.get("LOCAL_DBT_CLOUD_API_PORT", "8580"),
        help="port of the API, 0 for any (LOCAL_DBT_CLOUD_API_PORT, default 8580)",
    )
    parser.add_argument(
        "--pages-port",
        type=int,
        default=os.environ.get("LOCAL_DBT_CLOUD_PAGES_PORT", "8581"),
        help="port of the pages, 0 for any (LOCAL_DBT_CLOUD_PAGES_PORT, default 8581)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("LOCAL_DBT_CLOUD_DATA_DIR", ".local_dbt_cloud"),
        help="where it keeps all it writes (LOCAL_DBT_CLOUD_DATA_DIR, default .local_dbt_cloud)",
    )
    parser.add_argument(
        "--account",
        type=Path,
        default=os.environ.get("LOCAL_DBT_CLOUD_ACCOUNT", DEMO_ACCOUNT),
        help="YAML file with the account, its projects, environments and jobs (LOCAL_DBT_CLOUD_ACCOUNT, "
        "default: the demo account)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; all others are refused (default 127.0.0.1)"
    )
    parser.add_argument(
        "--history",
        type=int,
        default=0,
        metavar="N",
        help="fill the store with finished runs until there are N (default 0)",
    )
    return parser.parse_args()


async def serve_until_signal(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM.

    :raises UserError: something is missing, wrong or taken; says what to do.
    """
    if importlib.util.find_spec("dbt") is None:
        raise UserError("dbt is not installed in this Python: install local-dbt-cloud with its dependencies.")
    if not 0 <= options.history <= MAX_HISTORY:
        raise UserError(f"--history takes a number of runs from 0 to {MAX_HISTORY}.")
    token = os.environ.get("LOCAL_DBT_CLOUD_TOKEN", "local-token")
    if not token:
        raise UserError("LOCAL_DBT_CLOUD_TOKEN is empty: unset it, or give the local dbt Cloud a token.")
    data = DataDirectory(options.data_dir.resolve())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with (
        only_one(data.root),
        listening(options.host, options.api_port, "LOCAL_DBT_CLOUD_API_PORT") as api_socket,
        listening(options.host, options.pages_port, "LOCAL_DBT_CLOUD_PAGES_PORT") as pages_socket,
    ):
        pages_url = f"http://localhost:{pages_socket.getsockname()[1]}"
        service = open_service(options.account, data, pages_url, token, options.history)
        api_url = f"https://localhost:{api_socket.getsockname()[1]}"
        print(f"local dbt Cloud: API {api_url}, pages {pages_url}, data {data.root}", flush=True)
        await serve(service, api_socket, pages_socket, stop)


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold a data directory, made if there is none: two processes in one would end each other's runs."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise UserError(
            f"Cannot write to {directory} ({error.strerror}): "
            "set LOCAL_DBT_CLOUD_DATA_DIR to a directory of yours."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another local dbt Cloud uses {directory}: stop it, "
                "or set LOCAL_DBT_CLOUD_DATA_DIR to another directory for this one."
            ) from error
        yield


@contextmanager
def listening(host: str, port: int, variable: str) -> Iterator[socket.socket]:
    """Listen on a port."""
    try:
        server = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Cannot listen on port {port} of {host} ({error}): set {variable} to a port that is free."
        ) from error
    with server:
        yield server


def main() -> None:
    """Run the command."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    # The ports may stand in .env, beside the connection of a real account.
    load_dotenv(Path.cwd() / ".env")
    try:
        asyncio.run(serve_until_signal(arguments()))
    except UserError as problem:
        sys.exit(f"local dbt Cloud: {problem}")


if __name__ == "__main__":
    main()
