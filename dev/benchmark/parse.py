"""Measures what a Dag file costs to parse: each of ours, and the tutorial's."""

from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.part import OURS, TUTORIAL, Part, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import settings_in
from scripts.settings import PROJECT

TUTORIAL_DAG = Path(__file__).parent / "workloads" / "tutorial_dag.py"
MOST = 1.2

HOW = (
    "A process imports what Airflow's Dag processor has imported, and forks another each time a file is "
    "parsed, as that does; milliseconds of CPU of the fork, which reads the file and serializes its Dag, "
    "median of {times}, each the best of three, for what else the machine does only adds. "
    "*Airflow imported*: all that the file imports beyond that counts, the provider too. "
    "*Provider imported*: before it forks, the process has also imported what all these files name of "
    "`airflow`, as the Dag processor does by default (`parsing_pre_import_modules`); what remains is the Dag "
    "itself, and of ours `include/dbt_cloud`."
)


def measure(bench: BenchmarkContext) -> Part:
    """Parse all Dag files, both ways."""
    times = 3 if bench.quick else 10
    dags = sorted((PROJECT / "dags").glob("*.py"))
    settings = settings_in(bench.directory / "parse")
    rows, targets = [], []
    with bench.progress.waiting("Parsing Dag files"):
        alone = run_workload(settings, "parse", times, TUTORIAL_DAG, *dags)
        after = run_workload(settings, "parse", times, TUTORIAL_DAG, *dags, "--pre-import")
    for how, milliseconds in (("Airflow imported", alone), ("provider imported", after)):
        theirs = milliseconds[str(TUTORIAL_DAG)]
        for path in dags:
            what = f"{path.name}, {how}: milliseconds of CPU"
            rows.append(Row(what, {OURS: milliseconds[str(path)], TUTORIAL: theirs}, "{:,.0f}"))
    theirs = alone[str(TUTORIAL_DAG)]
    for path in dags:
        what = f"{path.name}, Airflow imported: no slower than the tutorial's Dag plus 20%"
        ours = alone[str(path)]
        targets.append(Target(what, f"{ours / theirs - 1:+.0%}", ours <= theirs * MOST))
    return Part("parse", "What a Dag file costs to parse", HOW.format(times=times), rows, targets)
