"""Measures what a Dag file costs to parse: each of ours, and the tutorial's."""

from pathlib import Path

from scripts.benchmark.part import OURS, TUTORIAL, Part, Row, Target
from scripts.benchmark.place import Bench, settings_in
from scripts.benchmark.workload import run_workload
from scripts.settings import PROJECT

TUTORIAL_DAG = Path(__file__).parent / "workloads" / "tutorial_dag.py"
MOST = 1.2

HOW = (
    "A process imports what Airflow's Dag processor has imported, and forks another each time a file is "
    "parsed, as that does; milliseconds of CPU of the fork, which reads the file and serializes its Dag, "
    "median of {times}. *Airflow imported*: all "
    "that the file imports beyond that counts, the provider too. *Pre-imported*: before it forks, the "
    "process has also imported what the Dag files name of `airflow`, providers included, as the Dag "
    "processor does by default (`parsing_pre_import_modules`); one such process has our Dags, another "
    "the tutorial's."
)


def measure(bench: Bench) -> Part:
    """Parse all Dag files, both ways."""
    times = 3 if bench.quick else 10
    dags = sorted((PROJECT / "dags").glob("*.py"))
    settings = settings_in(bench.directory / "parse")
    rows, targets = [], []
    with bench.progress.waiting("Parsing Dag files"):
        alone = run_workload(settings, "parse", times, TUTORIAL_DAG, *dags)
        # In two processes: what one file has a Dag processor import, the others find imported.
        after = run_workload(settings, "parse", times, *dags, "--pre-import")
        after |= run_workload(settings, "parse", times, TUTORIAL_DAG, "--pre-import")
    for how, milliseconds in (("Airflow imported", alone), ("pre-imported", after)):
        theirs = milliseconds[str(TUTORIAL_DAG)]
        for path in dags:
            ours = milliseconds[str(path)]
            what = f"{path.name}, {how}: milliseconds of CPU"
            rows.append(Row(what, {OURS: ours, TUTORIAL: theirs}, "{:,.0f}"))
            targets.append(Target(
                f"{path.name}, {how}: no slower than the tutorial's Dag plus 20%",
                f"{ours / theirs - 1:+.0%}",
                ours <= theirs * MOST,
            ))  # fmt: skip
    return Part("parse", "What a Dag file costs to parse", HOW.format(times=times), rows, targets)
