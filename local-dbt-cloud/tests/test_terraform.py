"""Terraform with the dbt Cloud provider, both unmodified.

Terraform installs the provider as its configuration (``TF_CLI_CONFIG_FILE``) says, by default from its
registry.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_dbt_cloud.testing import environment_before_trust_ca
from running_cloud import RunningCloud, running_cloud

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif("SLOW_CLIENTS" not in os.environ, reason="takes a minute: set SLOW_CLIENTS=1"),
    pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed"),
]

CONFIGURATION = Path(__file__).parent / "clients" / "main.tf"
REMOTE_URL = "git@github.com:acme/tiny.git"


class Terraform:
    """Terraform in a directory with the configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = environment_before_trust_ca()
        shutil.copy(CONFIGURATION, directory)
        done = self._run("init")
        if done.returncode:
            pytest.skip(f"the provider cannot be installed: {done.stderr.strip().splitlines()[-1]}")

    def connect(self, cloud: RunningCloud) -> None:
        """Use a local dbt Cloud."""
        self.environment |= cloud.environment | {
            "DBT_CLOUD_HOST_URL": f"{cloud.url}/api",
            "DBT_CLOUD_TOKEN": cloud.token,
            "DBT_CLOUD_ACCOUNT_ID": str(cloud.account_id),
            "TF_VAR_remote_url": REMOTE_URL,
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command, check its exit code, and return its output."""
        done = self._run(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments], cwd=self.directory, env=self.environment, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip

    def apply(self, *variables: str) -> None:
        """Apply the configuration, and check that nothing is left to do."""
        settings = [f"-var={variable}" for variable in variables]
        self.run("apply", "-auto-approve", "-input=false", *settings)
        # 0 means that there are no changes.
        self.run("plan", "-detailed-exitcode", "-input=false", *settings)

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of all resources in the state."""
        state = json.loads(self.run("show", "-json"))
        resources = state["values"]["root_module"]["resources"]
        return {one["address"]: one["values"] for one in resources if one["mode"] == "managed"}


@pytest.fixture
def terraform(tmp_path: Path) -> Terraform:
    directory = tmp_path / "terraform"
    directory.mkdir()
    return Terraform(directory)


def test_terraform_applies_changes_imports_and_destroys(
    terraform: Terraform, tmp_path: Path, tiny_account: Path
) -> None:
    declaration = yaml.safe_load(tiny_account.read_text())
    declaration["projects"][0]["remote_url"] = REMOTE_URL
    tiny_account.write_text(yaml.safe_dump(declaration))
    with running_cloud(tmp_path / "data", tiny_account) as cloud:
        terraform.connect(cloud)
        terraform.apply()
        jobs = {job["name"]: job for job in cloud.get("jobs/", project_id=100001)}
        assert {name: job["job_type"] for name, job in jobs.items()} == {
            "Hourly": "scheduled", "Every few hours": "scheduled", "Cron": "scheduled",
            "Weekdays": "scheduled", "CI": "ci", "Merge": "merge", "After hourly": "other",
        }  # fmt: skip
        assert jobs["Every few hours"]["schedule"]["cron"] == "4 */5 * * 0,1,2,3,4,5,6"
        assert jobs["Weekdays"]["cron_humanized"] == "At 07:00 AM, only on " + (
            "Monday, Tuesday, Wednesday, Thursday, and Friday"
        )
        terraform.apply("timeout=900", "color=green")
        assert cloud.get(f"jobs/{jobs['Hourly']['id']}/")["execution"]["timeout_seconds"] == 900

        # A job that Terraform created can run.
        run = cloud.wait(cloud.trigger(jobs["Hourly"]["id"])["id"])
        assert run["status_humanized"] == "Success"
        assert "schema: prod" in run["run_steps"][1]["logs"]

        resources = terraform.resources()
        (terraform.directory / "terraform.tfstate").unlink()
        for address, attributes in resources.items():
            terraform.run("import", "-input=false", address, str(attributes["id"]))
        # Passwords and settings of the provider itself are not imported: the first plan is not empty.
        terraform.apply("timeout=900", "color=green")
        assert {address: one["id"] for address, one in terraform.resources().items()} == {
            address: one["id"] for address, one in resources.items()
        }

        terraform.run("destroy", "-auto-approve", "-input=false")
        assert [project["id"] for project in cloud.get("projects/")] == [1]
        assert len(cloud.get("jobs/")) == 4
        assert "hush" not in f"{cloud.requests()}"
