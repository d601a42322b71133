"""`copier update`, as docs/make-it-yours.md says, updates a copy, and keeps the user's Dags."""

from pathlib import Path

import pytest

from dev.tests.copies import list_files, make_copy, run
from dev.tests.recipes import apply_recipe

pytestmark = pytest.mark.end_to_end


def test_an_update_changes_the_library_but_no_dags(starter: Path, tmp_path: Path) -> None:
    template, copy = tmp_path / "template", tmp_path / "my-project"
    hook, main = "include/dbt_cloud/hook.py", "dags/check_before_running_dbt_cloud_job.py"
    report, sensor = "dags/report_on_dbt_models.py", "dags/wait_for_dbt_cloud_job_with_sensor.py"
    jobs = "dags/run_dbt_cloud_jobs.py"
    run(tmp_path, "git", "clone", "--quiet", starter, template)
    current = {name: (template / name).read_text() for name in (hook, main, report, sensor, jobs)}

    # An older version of the template, with another hook, other Dags, and one Dag less.
    for name in (hook, main, sensor, jobs):
        (template / name).write_text(current[name] + "# Older version.\n")
    (template / report).unlink()
    run(template, "git", "commit", "--quiet", "--all", "--message", "Older")
    run(template, "git", "tag", "v0.1.0")
    make_copy(copy, template, ref="v0.1.0")
    run(copy, "git", "init", "--quiet")
    # The user changes one Dag, deletes another one, and adds one.
    (copy / main).write_text(current[main].replace("@daily", "@hourly"))
    (copy / sensor).unlink()
    (copy / "dags/added.py").write_text("# Added by the user\n")
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "Change Dags")
    run(template, "git", "revert", "--no-edit", "HEAD")
    run(template, "git", "tag", "v0.2.0")

    apply_recipe("Take updates", copy)
    assert (copy / hook).read_text() == current[hook]
    assert (copy / main).read_text() == current[main].replace("@daily", "@hourly")
    assert (copy / jobs).read_text() == current[jobs] + "# Older version.\n"
    assert not (copy / sensor).exists()
    assert not (copy / report).exists()
    assert (copy / "dags/added.py").read_text() == "# Added by the user\n"
    assert "_commit: v0.2.0" in (copy / ".copier-answers.yml").read_text()
    assert run(copy, "git", "diff", "--name-only").split() == [".copier-answers.yml", hook]

    # The local dbt Cloud can be removed later.
    run(copy, "git", "commit", "--quiet", "--all", "--message", "Update")
    apply_recipe("Remove the local dbt Cloud", copy)
    assert not (copy / "local-dbt-cloud/pyproject.toml").exists()
    assert not (copy / "tests/integration/test_hook.py").exists()
    assert (copy / main).exists()

    # The project and the Dag can be renamed.
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "Remove the local dbt Cloud")
    apply_recipe("Rename the project and the Dag", copy)
    assert (copy / "README.md").read_text().startswith("# shop-pipelines\n")
    assert (copy / ".astro/config.yaml").read_text() == "project:\n  name: shop-pipelines\n"
    assert "def build_jaffle_shop()" in (copy / "dags/build_jaffle_shop.py").read_text()
    assert "check_before_running" not in "".join(
        (copy / name).read_text() for name in list_files(copy) if (copy / name).is_file()
    )
