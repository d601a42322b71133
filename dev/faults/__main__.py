"""The command ``python -m dev.faults``: play the faults and write docs/faults.md."""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from rich.markup import escape

from dev.faults.case import Case
from dev.faults.facts import Facts
from dev.faults.matrix import play
from dev.faults.report import PAGE, page, row
from dev.faults.scenarios import SCENARIOS, VARIANTS
from scripts.progress import Progress


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.faults",
        description="Play each fault with this project's operator and with the stock provider's, in a real "
        f"Airflow with a local dbt Cloud, and write {PAGE.name} from what was seen.",
    )
    parser.add_argument("--only", metavar="REGEX", help="scenarios whose name matches; writes nothing")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="one of both; writes nothing")
    parser.add_argument("--directory", type=Path, help="where to keep logs and data, a new directory")
    options = parser.parse_args()
    chosen = [one for one in SCENARIOS if re.search(options.only or "", one.name)]
    variants = options.variant or VARIANTS
    progress = Progress()

    def seen(case: Case, facts: Facts) -> None:
        verdict = ", ".join(facts.verdict(case.scenario)) or "as it must be"
        progress.done(f"{case.dag_id}: {', '.join(facts.carried_out)}; {facts.state}; {verdict}")
        if case.variant == "ours" and (unsaid := facts.unsaid(case.scenario)):
            progress.line(f"  does not say {unsaid}")
        if facts.trouble:
            progress.line(f"  {escape(facts.trouble)}")

    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        matrix = play(chosen, variants, options.directory or Path(directory), seen)
    if options.only or options.variant:
        for scenario in chosen:
            progress.line(row(scenario, matrix))
        return
    if troubles := [facts.trouble for facts in matrix.values() if facts.trouble]:
        progress.line(f"Not written, because {len(troubles)} of {len(matrix)} cases had trouble:")
        for trouble in troubles:
            progress.line(f"  {escape(trouble)}")
        sys.exit(1)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(matrix), encoding="utf-8")
    progress.done(f"Written: {PAGE}")


if __name__ == "__main__":
    main()
