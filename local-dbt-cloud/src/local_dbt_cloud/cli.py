"""The command ``local-dbt-cloud``: serve the API and the pages until a signal arrives."""

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.errors import UserError
from local_dbt_cloud.server import serve
from local_dbt_cloud.service import create_service

MAX_HISTORY = 1_000_000
MAX_OPEN_FILES = 10_240
DEMO_ACCOUNT = Path(__file__).parent / "demo" / "account.yaml"


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; environment variables override the defaults."""
    parser = argparse.ArgumentParser(
        prog="local-dbt-cloud",
        description="Emulate dbt Cloud on this machine: its API over TLS, its pages over plain HTTP.",
        epilog="LOCAL_DBT_CLOUD_TOKEN sets the API token that clients must send (default: local-token).",
    )

    def add(option: str, kind: Callable[[str], Any], default: str, text: str, default_name: str = "") -> None:
        variable = f"LOCAL_DBT_CLOUD_{option.removeprefix('--').replace('-', '_').upper()}"
        text = f"{text} ({variable}, default: {default_name or default})"
        parser.add_argument(option, type=kind, default=os.environ.get(variable, default), help=text)

    add("--api-port", int, "8580", "port of the API, 0 for any free port")
    add("--pages-port", int, "8581", "port of the pages, 0 for any free port")
    add("--data-dir", Path, ".local_dbt_cloud", "directory for everything it writes")
    add(
        "--account", Path, str(DEMO_ACCOUNT), "YAML file that declares projects, environments and jobs",
        default_name="the demo account",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--history", type=int, default=0, metavar="N",
        help="add finished runs until the history has N (default: 0)",
    )  # fmt: skip
    return parser.parse_args()


async def serve_until_signal(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM.

    :raises UserError: dbt is not installed, an option is invalid, or a port or the data directory is in use.
    """
    if importlib.util.find_spec("dbt") is None:
        raise UserError("dbt is not installed in this Python: install local-dbt-cloud with its dependencies.")
    if not 0 <= options.history <= MAX_HISTORY:
        raise UserError(f"--history must be between 0 and {MAX_HISTORY}.")
    # Removed, so that no child process inherits it.
    token = os.environ.pop("LOCAL_DBT_CLOUD_TOKEN", "local-token")
    if not token:
        raise UserError("LOCAL_DBT_CLOUD_TOKEN is empty: set it to a token, or unset it for the default.")
    raise_file_limit()
    data = DataDirectory(options.data_dir.resolve())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with (
        data.locked(),
        listening_socket(options.host, options.api_port, "LOCAL_DBT_CLOUD_API_PORT") as api_socket,
        listening_socket(options.host, options.pages_port, "LOCAL_DBT_CLOUD_PAGES_PORT") as pages_socket,
    ):
        pages_url = f"http://localhost:{pages_socket.getsockname()[1]}"
        service = create_service(options.account, data, pages_url, token, options.history)
        api_url = f"https://localhost:{api_socket.getsockname()[1]}"
        # Scripts and `local_dbt_cloud.testing` parse this line.
        print(f"local dbt Cloud: API {api_url}, pages {pages_url}, data {data.root}", flush=True)
        await serve(service, api_socket, pages_socket, stop)


def raise_file_limit() -> None:
    """Raise the limit of open files: with the usual 1,024, idle connections would block new ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    # The kernel of macOS may accept less than the hard limit.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@contextmanager
def listening_socket(host: str, port: int, variable: str) -> Iterator[socket.socket]:
    """Listen on a port while the block runs.

    :param variable: Environment variable that sets the port, for the error message.
    :raises UserError: The port is invalid or in use.
    """
    try:
        server = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Cannot listen on port {port} of {host} ({error}): set {variable} to a free port."
        ) from error
    with server:
        yield server


def main() -> None:
    """Run the command."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    # The project's .env may set the ports.
    load_dotenv(Path.cwd() / ".env")
    try:
        asyncio.run(serve_until_signal(parse_arguments()))
    except UserError as error:
        sys.exit(f"local dbt Cloud: {error}")
