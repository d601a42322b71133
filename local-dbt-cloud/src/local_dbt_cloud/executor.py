"""Execute a run: its steps in order, until it succeeds, fails, times out or is canceled."""

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Run, RunStep, utc_now
from local_dbt_cloud.dbt_commands import dbt_arguments
from local_dbt_cloud.dbt_process import DbtProcess
from local_dbt_cloud.git import commit_of
from local_dbt_cloud.job_definition import JobDefinition
from local_dbt_cloud.provisioning import Target
from local_dbt_cloud.run_plan import FIRST_DBT_STEP, DbtStep
from local_dbt_cloud.run_status import RunStatus
from local_dbt_cloud.trigger_request import TriggerRequest

# A git clone of the project would not have these files, nor these folders beside one of the root files.
# Elsewhere, such a folder may contain models.
NOT_CLONED = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.duckdb", "*.duckdb.wal")
GENERATED_FOLDERS = {"target", "logs", "dbt_packages", "node_modules"}
ROOT_FILES = {".git", "dbt_project.yml", "package.json"}
TIMED_OUT = "This run timed out after running for {} seconds."


class StepFailed(Exception):
    """A step failed; the message becomes the run's ``status_message``."""


@dataclass(frozen=True)
class RunExecution:
    """The execution of a run in its own directory."""

    run: Run
    job: JobDefinition
    target: Target
    variables: dict[str, str]
    sessions: sessionmaker[Session]
    data: DataDirectory

    async def execute(self) -> None:
        """Execute all steps, and set the final status of the run.

        The run ends as Cancelled if it exceeds the timeout of its job, or if the awaiting task is canceled:
        dbt is stopped, and the message of the cancellation becomes the run's ``status_message``.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.request.timeout(self.job)):
                await self._run_steps()
        except (TimeoutError, asyncio.CancelledError) as error:
            # Empty if a user cancels the run just when its timeout expires.
            timed_out = TIMED_OUT.format(round(time.monotonic() - started))
            self._finish(RunStatus.CANCELLED, str(error) or timed_out)
        except StepFailed as error:
            self._finish(RunStatus.ERROR, str(error))
        except Exception as error:
            # SQLAlchemy's own message would contain the statement.
            reason = getattr(error, "orig", error)
            self._finish(RunStatus.ERROR, f"The local dbt Cloud failed to execute this run: {reason}")
            raise
        else:
            self._finish(RunStatus.SUCCESS)

    @property
    def request(self) -> TriggerRequest:
        """The request that triggered this run, with its overrides."""
        return TriggerRequest.model_validate(self.run.trigger)

    @property
    def _directory(self) -> Path:
        return self.data.run(self.run.id)

    @property
    def _repository_copy(self) -> Path:
        return self.data.repository_copy(self.run.id)

    @property
    def _project_copy(self) -> Path:
        return self._repository_copy / self.target.subdirectory

    async def _run_steps(self) -> None:
        with self.sessions.begin() as session:
            run = session.get_one(Run, self.run.id)
            run.status, run.started_at = RunStatus.RUNNING, utc_now()
        # After a state file was restored from a backup, IDs are reused, and the directory may exist.
        shutil.rmtree(self._directory, ignore_errors=True)
        with self._step(1, "Clone git repository") as log:
            log.write_text(await self._copy_repository(), encoding="utf-8")
        with self._step(2, "Create profile from connection DuckDB") as log:
            profile = yaml.safe_dump(self._profile(), sort_keys=False)
            (self._directory / "profiles.yml").write_text(profile, encoding="utf-8")
            log.write_text(profile, encoding="utf-8")
        dbt = DbtProcess(self._project_copy)
        try:
            for index, entry in enumerate(self.run.dbt_steps, start=FIRST_DBT_STEP):
                step = DbtStep(*entry)
                try:
                    await self._invoke_dbt(dbt, index, step)
                except StepFailed:
                    if not step.continue_on_error:
                        raise
        finally:
            await dbt.end()

    async def _copy_repository(self) -> str:
        """Copy the repository instead of cloning it, and return the log."""
        source = self.target.directory
        if source is None:
            url = self.target.repository_url
            raise StepFailed(
                f"Repository {url} is not on this machine: add a project with this remote_url to account.yaml"
                if url
                else f"Project {self.run.project_id} has no repository: create one and set its repository_id."
            )
        await self._copy_files(source)
        if not self._project_copy.resolve().is_relative_to(self._repository_copy.resolve()):
            raise StepFailed(f"The subdirectory {self.target.subdirectory} is outside the repository.")
        if not (self._project_copy / "dbt_project.yml").is_file():
            raise StepFailed(f"{source / self.target.subdirectory} has no dbt_project.yml.")
        git_sha = await commit_of(source)
        with self.sessions.begin() as session:
            session.get_one(Run, self.run.id).git_sha = git_sha
        return f"Copied {source}{f' at {git_sha}' if git_sha else ''}.\n"

    async def _copy_files(self, source: Path) -> None:
        """Copy the files of the repository; on cancellation, stop after the current file."""
        stopped = threading.Event()

        def copy_file(file: str, copy: str) -> None:
            if stopped.is_set():
                # Not an OSError, after which copytree() continues.
                raise StepFailed("The copy was stopped.")
            shutil.copy2(file, copy)

        copy_tree = partial(shutil.copytree, ignore=self._ignored_files, copy_function=copy_file)
        # In a thread, because copying a large project would block the event loop. The end of the block waits
        # for the thread, which would otherwise write into a directory that was just deleted.
        with ThreadPoolExecutor(1) as thread:
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(thread, copy_tree, source, self._repository_copy)
            except shutil.Error as error:
                # It lists the source, the destination and the reason of each failure.
                raise StepFailed(f"Cannot copy the project: {error.args[0][0][2]}.") from error
            finally:
                stopped.set()

    def _ignored_files(self, directory: str, names: list[str]) -> set[str]:
        ignored = NOT_CLONED(directory, names) | (GENERATED_FOLDERS if ROOT_FILES & set(names) else set())
        for path in (Path(directory, name) for name in names):
            # Dangling links and sockets cannot be copied. The data directory may be inside the project;
            # copying it would never end.
            if not (path.is_file() or path.is_dir()) or path.resolve() == self.data.root:
                ignored.add(path.name)
        return ignored

    async def _invoke_dbt(self, dbt: DbtProcess, index: int, step: DbtStep) -> None:
        with self._step(index, f"Invoke dbt with `{step.command}`") as log:
            arguments = dbt_arguments(step.command)
            if step.state_dir:
                arguments += ["--state", str(self.data.root / step.state_dir)]
            exit_code = await dbt.run(arguments, self._dbt_environment(index), log)
            artifacts = self.data.artifacts(self.run.id, index)
            with self.sessions.begin() as session:
                run = session.get_one(Run, self.run.id)
                run.has_docs_generated |= (artifacts / "catalog.json").is_file()
                run.has_sources_generated |= (artifacts / "sources.json").is_file()
            if exit_code:
                raise StepFailed(
                    f"Step {index}, `{step.command}`, failed: dbt ended with exit code {exit_code}."
                )

    @contextmanager
    def _step(self, index: int, name: str) -> Iterator[Path]:
        """Store a step; its final status depends on the outcome of the block. Yield its log file."""
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
                step.status, step.finished_at = status, utc_now()

    def _finish(self, status: RunStatus, message: str | None = None) -> None:
        shutil.rmtree(self._repository_copy, ignore_errors=True)
        with self.sessions.begin() as session:
            run = session.get_one(Run, self.run.id)
            run.status, run.status_message, run.finished_at = status, message, utc_now()

    def _profile(self) -> dict[str, Any]:
        dbt_project = yaml.safe_load((self._project_copy / "dbt_project.yml").read_text(encoding="utf-8"))
        if not isinstance(dbt_project, dict) or not dbt_project.get("profile"):
            raise StepFailed(
                "The project's dbt_project.yml has no profile: add a line such as 'profile: shop'."
            )
        target = self.request.target_name_override or self.job.settings.target_name
        schema = self.request.schema_override or self.target.schema
        if set("{}") & set(schema):
            raise StepFailed("The schema contains braces, which dbt would render with Jinja.")
        output = {
            "type": "duckdb",
            "path": str(self.data.root / self.target.database),
            "schema": schema,
            "threads": self.request.threads_override or self.job.settings.threads,
        }
        return {dbt_project["profile"]: {"target": target, "outputs": {target: output}}}

    def _dbt_environment(self, index: int) -> dict[str, str]:
        # docs.getdbt.com/docs/build/environment-variables, "Special environment variables".
        special = {
            "DBT_CLOUD_ACCOUNT_ID": str(self.job.account_id),
            "DBT_CLOUD_PROJECT_ID": str(self.run.project_id),
            "DBT_CLOUD_ENVIRONMENT_ID": str(self.run.environment_id),
            "DBT_CLOUD_JOB_ID": str(self.run.job_definition_id),
            "DBT_CLOUD_RUN_ID": str(self.run.id),
            "DBT_CLOUD_RUN_REASON": self.request.cause,
            "DBT_CLOUD_RUN_REASON_CATEGORY": self.run.cause_category,
            "DBT_CLOUD_INVOCATION_CONTEXT": "prod",
        }
        # dbt copies variables with this prefix, without the prefix, into metadata.env of its artifacts.
        in_artifacts = {f"DBT_ENV_CUSTOM_ENV_{name}": value for name, value in special.items()}
        # The paths come last: a variable of the job must not direct dbt outside the directory of the run.
        return self.variables | special | in_artifacts | {
            "DBT_PROFILES_DIR": str(self._directory),
            "DBT_TARGET_PATH": str(self.data.artifacts(self.run.id, index)),
            "DBT_LOG_PATH": str(self.data.step(self.run.id, index)),
        }  # fmt: skip
