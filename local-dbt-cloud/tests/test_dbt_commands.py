"""Parsing of steps into arguments for dbt."""

import click
import pytest
from dbt.cli.main import cli

from local_dbt_cloud.dbt_commands import OPTIONS_WITH_VALUE, RESERVED_OPTIONS, dbt_arguments


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ("dbt build", ["build"]),
        ("dbt build --vars '{break_one_model: true}'", ["build", "--vars", "{break_one_model: true}"]),
        ("dbt --warn-error run --select tag:nightly+", ["--warn-error", "run", "--select", "tag:nightly+"]),
        ("dbt --log-level debug build", ["--log-level", "debug", "build"]),
        ("dbt source freshness", ["source", "freshness"]),
        ("dbt ls --output json -s orders", ["ls", "--output", "json", "-s", "orders"]),
        ("dbt -q build -f", ["-q", "build", "-f"]),
        ("dbt docs generate --select serve", ["docs", "generate", "--select", "serve"]),
        ("dbt run-operation grant_select --args '{role: reporter}'",
         ["run-operation", "grant_select", "--args", "{role: reporter}"]),
    ],
)  # fmt: skip
def test_dbt_command_is_split_into_arguments(step: str, arguments: list[str]) -> None:
    assert dbt_arguments(step) == arguments


@pytest.mark.parametrize(
    "step",
    [
        "",
        " ",
        "dbt",
        "build",
        "rm -rf /",
        "dbt; rm -rf /",
        "dbtx build",
        "/bin/sh -c 'dbt build'",
        "dbt build -r /tmp/timing",
        "dbt build -r/tmp/timing",
        "dbt -qr/tmp/timing build",
        "dbt source freshness -o /tmp/sources.json",
        "dbt source freshness --output=/tmp/sources.json",
        "dbt init",
        "dbt debug",
        "dbt docs serve",
        "dbt frobnicate build",
        "dbt --quiet init build",
        "dbt --no-use-colors clean build",
        "dbt --log-level build",
        "dbt docs",
        "dbt source",
        "dbt build 'unfinished",
        "dbt build --project-dir /etc",
        "dbt build --profiles-dir=/etc",
        "dbt build --target-path /tmp",
        "dbt --log-path /tmp build",
    ],
)
def test_other_steps_are_rejected_with_a_reason(step: str) -> None:
    with pytest.raises(ValueError, match=r"^step .{5,}"):
        dbt_arguments(step)


def test_all_global_options_with_a_value_are_known() -> None:
    options = (option for option in cli.params if isinstance(option, click.Option))
    takes_value = {name for option in options if not option.is_flag for name in option.opts}
    assert takes_value <= OPTIONS_WITH_VALUE | RESERVED_OPTIONS | {"-r"}
