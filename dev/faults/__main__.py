"""`make faults`: inject all faults and write docs/faults.md."""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from rich.markup import escape

from dev.faults.matrix import run_matrix
from dev.faults.observation import Observation
from dev.faults.report import PAGE, render_page, render_row
from dev.faults.scenarios import SCENARIOS, VARIANTS
from dev.faults.trial import Trial
from scripts.progress import Progress


def main() -> None:
    """Run the command; exit code 1 if a trial had an error."""
    options = _parse_options()
    scenarios = [scenario for scenario in SCENARIOS if re.search(options.only or "", scenario.name)]
    variants = options.variant or VARIANTS
    progress = Progress()

    def print_result(trial: Trial, observation: Observation) -> None:
        result = ", ".join(observation.violations(trial.scenario)) or "as expected"
        statuses = ", ".join(observation.run_statuses)
        progress.done(f"{trial.dag_id}: {statuses}; {observation.state}; {result}")
        if trial.variant == "ours" and (missing := observation.missing_log(trial.scenario)):
            progress.print(f"  not in the log: {escape(str(missing))}")
        if observation.error:
            progress.print(f"  {escape(observation.error)}")

    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        matrix = run_matrix(scenarios, variants, options.directory or Path(directory), print_result)
    if options.only or options.variant:
        for scenario in scenarios:
            progress.print(escape(render_row(scenario, matrix)))
        return
    if errors := [observation.error for observation in matrix.values() if observation.error]:
        progress.print(f"Not written: {len(errors)} of {len(matrix)} trials had an error:")
        for error in errors:
            progress.print(f"  {escape(error)}")
        sys.exit(1)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render_page(matrix), encoding="utf-8")
    progress.done(f"Wrote {PAGE}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.faults",
        description="Inject each fault into a real Airflow with a local dbt Cloud, with the operators of "
        f"this project and of the stock provider, and write the results to {PAGE.name}.",
    )
    parser.add_argument("--only", metavar="REGEX", help="only scenarios whose name matches; writes no page")
    parser.add_argument(
        "--variant", choices=VARIANTS, action="append", help="only this operator; writes no page"
    )
    parser.add_argument("--directory", type=Path, help="new directory for logs and data; kept afterwards")
    return parser.parse_args()


if __name__ == "__main__":
    main()
