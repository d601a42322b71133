"""The command ``local-dbt-cloud``: serve the API and the pages until a signal arrives or a command ends."""

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from local_dbt_cloud.client_environment import client_environment
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.errors import UserError
from local_dbt_cloud.server import serve
from local_dbt_cloud.service import create_service

MAX_HISTORY = 1_000_000
MAX_OPEN_FILES = 10_240
AIRFLOW_CONNECTION = "dbt_cloud_default"
DEMO_ACCOUNT = Path(__file__).parent / "demo" / "account.yaml"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; environment variables override the defaults.

    :param arguments: Arguments after the name of the program; those after ``--`` are the command to run.
    """
    command: list[str] | None = None
    if "--" in arguments:
        position = arguments.index("--")
        arguments, command = arguments[:position], arguments[position + 1 :]
    parser = argparse.ArgumentParser(
        prog="local-dbt-cloud",
        usage="%(prog)s [OPTION ...] [run -- COMMAND ...]",
        description="Emulate dbt Cloud on this machine: its API over TLS, its pages over plain HTTP.",
        epilog="LOCAL_DBT_CLOUD_TOKEN sets the API token that clients must send (default: local-token).",
    )

    def add(option: str, kind: Callable[[str], Any], default: str, text: str, default_name: str = "") -> None:
        variable = f"LOCAL_DBT_CLOUD_{option.removeprefix('--').replace('-', '_').upper()}"
        text = f"{text} ({variable}, default: {default_name or default})"
        # A local dbt Cloud that is already running may use the ports and data that the environment sets.
        value = os.environ.get(variable, default) if command is None or option == "--account" else default
        parser.add_argument(option, type=kind, default=value, help=text)

    add("--api-port", int, "8580" if command is None else "0", "port of the API, 0 for any free port")
    add("--pages-port", int, "8581" if command is None else "0", "port of the pages, 0 for any free port")
    add("--data-dir", Path, ".local_dbt_cloud", "directory for everything it writes")
    if command is not None:
        parser.set_defaults(data_dir=None)
    add(
        "--account", Path, str(DEMO_ACCOUNT), "YAML file that declares projects, environments and jobs",
        default_name="the demo account",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--history", type=int, default=0, metavar="N",
        help="add finished runs until the history has N (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--schedules", action="store_true",
        default=os.environ.get("LOCAL_DBT_CLOUD_SCHEDULES", "0") not in ("", "0", "false"),
        help="run scheduled jobs at their times (LOCAL_DBT_CLOUD_SCHEDULES=1, default: off)",
    )  # fmt: skip
    parser.add_argument(
        "--airflow-connection", action="append", metavar="ID",
        help=f"with run: ID of the Airflow connection, repeatable (default: {AIRFLOW_CONNECTION})",
    )  # fmt: skip
    parser.add_argument(
        "run", nargs="?", choices=["run"],
        help="run the command after --, with a connection and certificates in its environment, and exit with "
        "its code; ports are free ones and data is temporary unless options set them",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if bool(options.run) != bool(command):
        parser.error("run needs a command after --, and a command needs run")
    options.command = command
    return options


async def serve_until_signal(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, or until the given command ends; return the exit code.

    :raises UserError: dbt is not installed, an option is invalid, or a port or the data directory is in use.
    """
    if importlib.util.find_spec("dbt") is None:
        raise UserError("dbt is not installed in this Python: install local-dbt-cloud with its dependencies.")
    if not 0 <= options.history <= MAX_HISTORY:
        raise UserError(f"--history must be between 0 and {MAX_HISTORY}.")
    # Removed, so that no child process inherits it.
    token = os.environ.pop("LOCAL_DBT_CLOUD_TOKEN", "local-token")
    if not (token and token.isascii() and token.isprintable()):
        raise UserError("LOCAL_DBT_CLOUD_TOKEN is empty or not printable ASCII: change it or unset it.")
    raise_file_limit()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ExitStack() as stack:
        root = options.data_dir
        if root is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-dbt-cloud-")))
        data = DataDirectory(root.resolve())
        stack.enter_context(data.locked())
        api, pages = (
            stack.enter_context(listening_socket(options.host, port, name))
            for name, port in (("api", options.api_port), ("pages", options.pages_port))
        )
        api_port, pages_port = api.getsockname()[1], pages.getsockname()[1]
        api_url, pages_url = f"https://localhost:{api_port}", f"http://localhost:{pages_port}"
        service = create_service(options.account, data, pages_url, token, options.history, options.schedules)
        # Scripts and `local_dbt_cloud.testing` parse this line.
        line = f"local dbt Cloud: API {api_url}, pages {pages_url}, data {data.root}"
        if not options.command:
            print(line, flush=True)
            await serve(service, api, pages, stop)
            return 0
        print(line, file=sys.stderr, flush=True)
        environment = client_environment(
            api_url, token, service.config.account.id, data.ca_bundle,
            options.airflow_connection or [AIRFLOW_CONNECTION],
        )  # fmt: skip
        _, code = await asyncio.gather(
            serve(service, api, pages, stop), run_command(options.command, environment, stop)
        )
        return code


async def run_command(command: list[str], environment: dict[str, str], stop: asyncio.Event) -> int:
    """Run a command, set ``stop`` when it has ended, and return its exit code, as shells do."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | environment)

        def forward(number: int) -> None:
            # A terminal sends SIGINT to the command too; a second one would interrupt its cleanup.
            if number != signal.SIGINT or not is_in_foreground():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, forward, number)
        code = await process.wait()
    except OSError as error:
        print(f"local dbt Cloud: Cannot run {command[0]}: {error.strerror}.", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        stop.set()
    return code if code >= 0 else 128 - code


def is_in_foreground() -> bool:
    """Return whether Ctrl-C in a terminal sends SIGINT to this process and its children."""
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def raise_file_limit() -> None:
    """Raise the limit of open files: with the usual 1,024, idle connections would block new ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    # The kernel of macOS may accept less than the hard limit.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@contextmanager
def listening_socket(host: str, port: int, name: str) -> Iterator[socket.socket]:
    """Listen on a port while the block runs.

    :param name: ``api`` or ``pages``, for the error message.
    :raises UserError: The port is invalid or in use.
    """
    try:
        server = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Cannot listen on port {port} of {host} ({error}): "
            f"set --{name}-port or LOCAL_DBT_CLOUD_{name.upper()}_PORT to a free port."
        ) from error
    with server:
        yield server


def main() -> None:
    """Run the command."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    # The project's .env may set the ports.
    load_dotenv(Path.cwd() / ".env")
    try:
        exit_code = asyncio.run(serve_until_signal(parse_arguments(sys.argv[1:])))
    except UserError as error:
        sys.exit(f"local dbt Cloud: {error}")
    # Skip the garbage collection at exit, which takes longer than the rest of the shutdown.
    gc.freeze()
    sys.exit(exit_code)
