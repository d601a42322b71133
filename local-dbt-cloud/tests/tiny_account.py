"""An account with a dbt project of three models."""

from pathlib import Path

import yaml

QUICK, SLOW, FAILING, OTHER_ENVIRONMENT = 1, 2, 3, 4


def write_tiny_account(tmp_path: Path) -> Path:
    """Write an account file: a quick job, an endless one, a failing one, and one in another environment."""
    project = tmp_path / "tiny"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "{name: tiny, profile: tiny, version: '1.0', models: {+materialized: table}}"
    )
    (project / "models" / "one.sql").write_text(
        "select '{{ env_var('DBT_CLOUD_RUN_ID') }}' as run_id, '{{ target.name }}' as target, "
        "'{{ target.threads }}' as threads, '{{ env_var('LOCAL_DBT_CLOUD_TOKEN', 'no token') }}' as token"
    )
    (project / "models" / "endless.sql").write_text("select sum(range) as n from range(1000000000000000)")
    (project / "models" / "broken.sql").write_text("select error('on purpose') as n from range(1)")
    jobs = {
        QUICK: ("one", 1),
        SLOW: ("endless", 1),
        FAILING: ("broken", 1),
        OTHER_ENVIRONMENT: ("endless", 2),
    }
    account = {
        "account": {"id": 1, "name": "Tests", "run_slots": 2},
        "projects": [{"id": 1, "name": "Tiny", "directory": "tiny"}],
        "environments": [
            {
                "id": number,
                "project_id": 1,
                "name": f"{number}",
                "database": f"{number}.duckdb",
                "schema": "main",
            }
            for number in (1, 2)
        ],
        "jobs": [
            {
                "id": job_id,
                "environment_id": environment,
                "name": model,
                "execute_steps": [f"dbt run --select {model}"],
            }
            for job_id, (model, environment) in jobs.items()
        ],
    }
    file = tmp_path / "account.yaml"
    file.write_text(yaml.safe_dump(account))
    return file
