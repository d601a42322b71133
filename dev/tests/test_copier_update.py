"""`copier update` brings fixes to a copy and leaves its Dags alone."""

from pathlib import Path

import pytest

from copying import COPIER, make_copy, run

pytestmark = pytest.mark.end_to_end


def test_an_update_brings_fixes_and_leaves_dags_alone(starter: Path, tmp_path: Path) -> None:
    template, copy = tmp_path / "template", tmp_path / "my-project"
    hook, main = "include/dbt_cloud/hook.py", "dags/check_before_running_dbt_cloud_job.py"
    report, sensor = "dags/report_on_dbt_models.py", "dags/wait_for_dbt_cloud_job_with_sensor.py"
    run(tmp_path, "git", "clone", "--quiet", starter, template)
    now = {name: (template / name).read_text() for name in (hook, main, report, sensor)}

    # An older version of the template: another hook, other Dags, one Dag not there yet.
    for name in (hook, main, sensor):
        (template / name).write_text(now[name] + "# As it was before.\n")
    (template / report).unlink()
    run(template, "git", "commit", "--quiet", "--all", "--message", "Older")
    run(template, "git", "tag", "v0.1.0")
    make_copy(copy, template, "v0.1.0")
    run(copy, "git", "init", "--quiet")
    # They change one Dag, delete another, and add one of their own.
    (copy / main).write_text(now[main].replace("@daily", "@hourly"))
    (copy / sensor).unlink()
    (copy / "dags/theirs.py").write_text("# Their own Dag\n")
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "Make it ours")
    run(template, "git", "revert", "--no-edit", "HEAD")
    run(template, "git", "tag", "v0.2.0")

    run(copy, COPIER, "update", "--quiet", "--defaults")
    assert (copy / hook).read_text() == now[hook]
    assert (copy / main).read_text() == now[main].replace("@daily", "@hourly")
    assert not (copy / sensor).exists()
    assert not (copy / report).exists()
    assert (copy / "dags/theirs.py").read_text() == "# Their own Dag\n"
    assert "_commit: v0.2.0" in (copy / ".copier-answers.yml").read_text()
    assert run(copy, "git", "diff", "--name-only").split() == [".copier-answers.yml", hook]

    # The emulator can be declined later.
    run(copy, "git", "commit", "--quiet", "--all", "--message", "Update")
    run(copy, COPIER, "update", "--quiet", "--defaults", "--data=keep_local_dbt_cloud=false")
    assert not (copy / "local-dbt-cloud/pyproject.toml").exists()
    assert not (copy / "tests/integration/test_hook.py").exists()
    assert (copy / main).exists()
