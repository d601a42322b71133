"""Carries out one run: its steps in order, until success, failure or the end of its time."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.account import Environment, Project
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, RunStatus, RunStep, now
from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.dbt_process import run_dbt
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.run_plan import FIRST_DBT_STEP, DbtStep
from local_dbt_cloud.trigger_request import TriggerRequest

# What tools leave in a project's directory; a run begins without it, as after a git clone.
NOT_CLONED = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "target", "logs", "dbt_packages", "__pycache__", "*.duckdb",
    "*.duckdb.wal",
)  # fmt: skip


class StepFailed(Exception):
    """A step did not succeed; the text says which and how."""


@dataclass(frozen=True)
class Execution:
    """One run of a job on its way."""

    run: Run
    job: JobDefinition
    project: Project
    environment: Environment
    variables: dict[str, str]
    sessions: sessionmaker[Session]
    data: DataDirectory

    async def execute(self) -> None:
        """Take the run from Starting to Success or Error, or to Cancelled when its time is up.

        When the awaiting task is cancelled, dbt is stopped, and the run ends Cancelled with the text of the
        cancellation.
        """
        seconds = self.request.timeout_seconds_override
        limit = (self.job.execution.timeout_seconds if seconds is None else seconds) or None
        begin = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await self._run_steps()
        except (TimeoutError, asyncio.CancelledError) as end:
            # A cancellation without a text is the timeout's own, which another one overtook.
            timed_out = f"This run timed out after running for {time.monotonic() - begin:.0f} seconds."
            self._end(RunStatus.CANCELLED, str(end) or timed_out)
        except StepFailed as failure:
            self._end(RunStatus.ERROR, str(failure))
        except Exception as error:
            reason = getattr(error, "orig", error)
            self._end(RunStatus.ERROR, f"The local dbt Cloud could not carry out this run: {reason}")
            raise
        else:
            self._end(RunStatus.SUCCESS)

    @property
    def request(self) -> TriggerRequest:
        """What was asked of this run beside its job's settings."""
        return TriggerRequest.model_validate(self.run.trigger)

    def _not_cloned(self, directory: str, names: list[str]) -> set[str]:
        # The data directory may lie in the project: to copy it would copy the copy.
        ours = {name for name in names if Path(directory, name).resolve() == self.data.root}
        return ours | NOT_CLONED(directory, names)

    @property
    def _directory(self) -> Path:
        return self.data.run(self.run.id)

    @property
    def _project_copy(self) -> Path:
        return self._directory / "project"

    async def _run_steps(self) -> None:
        with self.sessions.begin() as session:
            run = session.get_one(Run, self.run.id)
            run.status, run.started_at = RunStatus.RUNNING, now()
        # Only a state file that was put back from a copy gives an id again; what lies there is of a lost run.
        shutil.rmtree(self._directory, ignore_errors=True)
        with self._step(1, "Clone git repository") as log:
            # In a thread: a project may be large.
            await asyncio.to_thread(
                shutil.copytree, self.project.directory, self._project_copy, ignore=self._not_cloned
            )
            log.write_text(f"Copied {self.project.directory}.\n", encoding="utf-8")
        with self._step(2, "Create profile from connection DuckDB") as log:
            profile = yaml.safe_dump(self._profile(), sort_keys=False)
            (self._directory / "profiles.yml").write_text(profile, encoding="utf-8")
            log.write_text(profile, encoding="utf-8")
        for index, entry in enumerate(self.run.dbt_steps, start=FIRST_DBT_STEP):
            step = DbtStep(*entry)
            try:
                await self._call_dbt(index, step)
            except StepFailed:
                if not step.may_fail:
                    raise

    async def _call_dbt(self, index: int, step: DbtStep) -> None:
        with self._step(index, f"Invoke dbt with `{step.command}`") as log:
            arguments = dbt_arguments(step.command)
            if step.state:
                arguments += ["--state", str(self.data.root / step.state)]
            code = await run_dbt(arguments, self._project_copy, self._environment(index), log)
            artifacts = self.data.artifacts(self.run.id, index)
            with self.sessions.begin() as session:
                run = session.get_one(Run, self.run.id)
                run.has_docs_generated |= (artifacts / "catalog.json").is_file()
                run.has_sources_generated |= (artifacts / "sources.json").is_file()
            if code:
                raise StepFailed(f"Step {index}, `{step.command}`, failed: dbt ended with exit code {code}.")

    @contextmanager
    def _step(self, index: int, name: str) -> Iterator[Path]:
        log = self.data.step_log(self.run.id, index)
        log.parent.mkdir(parents=True)
        log.touch()
        with self.sessions.begin() as session:
            step = RunStep(run_id=self.run.id, index=index, name=name)
            session.add(step)
        status = RunStatus.SUCCESS
        try:
            yield log
        except asyncio.CancelledError:
            status = RunStatus.CANCELLED
            raise
        except BaseException:
            status = RunStatus.ERROR
            raise
        finally:
            with self.sessions.begin() as session:
                step = session.get_one(RunStep, step.id)
                step.status, step.finished_at = status, now()

    def _end(self, status: RunStatus, message: str | None = None) -> None:
        shutil.rmtree(self._project_copy, ignore_errors=True)
        with self.sessions.begin() as session:
            run = session.get_one(Run, self.run.id)
            run.status, run.status_message, run.finished_at = status, message, now()

    def _profile(self) -> dict[str, Any]:
        declared = yaml.safe_load((self._project_copy / "dbt_project.yml").read_text(encoding="utf-8"))
        if not isinstance(declared, dict) or not declared.get("profile"):
            raise StepFailed(
                "The project's dbt_project.yml names no profile: add a line such as 'profile: shop'."
            )
        target = self.request.target_name_override or self.job.settings.target_name
        output = {
            "type": "duckdb",
            "path": str(self.data.root / self.environment.database),
            "schema": self.request.schema_override or self.environment.default_schema,
            "threads": self.request.threads_override or self.job.settings.threads,
        }
        return {declared["profile"]: {"target": target, "outputs": {target: output}}}

    def _environment(self, index: int) -> dict[str, str]:
        # docs.getdbt.com/docs/build/environment-variables, "Special environment variables".
        cloud = {
            "DBT_CLOUD_ACCOUNT_ID": str(self.job.account_id),
            "DBT_CLOUD_PROJECT_ID": str(self.project.id),
            "DBT_CLOUD_ENVIRONMENT_ID": str(self.environment.id),
            "DBT_CLOUD_JOB_ID": str(self.run.job_definition_id),
            "DBT_CLOUD_RUN_ID": str(self.run.id),
            "DBT_CLOUD_RUN_REASON": self.request.cause,
            "DBT_CLOUD_RUN_REASON_CATEGORY": self.run.cause_category,
            "DBT_CLOUD_INVOCATION_CONTEXT": "prod",
        }
        # dbt writes variables with this prefix into its artifacts, under metadata.env, without the prefix.
        in_artifacts = {f"DBT_ENV_CUSTOM_ENV_{name}": value for name, value in cloud.items()}
        # In this order, because a variable of the job must not lead dbt out of the run's own directory.
        return self.variables | cloud | in_artifacts | {
            "DBT_PROFILES_DIR": str(self._directory),
            "DBT_TARGET_PATH": str(self.data.artifacts(self.run.id, index)),
            "DBT_LOG_PATH": str(self.data.step(self.run.id, index)),
        }  # fmt: skip
