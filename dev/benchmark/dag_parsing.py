"""Benchmark the CPU time that Airflow needs to parse our Dag files and the tutorial's."""

from pathlib import Path

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.result import OURS, TUTORIAL, BenchmarkResult, Row, Target
from dev.benchmark.workload import run_workload
from dev.temporary_stack import settings_in
from scripts.settings import PROJECT

TUTORIAL_DAG = Path(__file__).parent / "workloads" / "tutorial_dag.py"
MAX_RATIO = 1.2

METHOD = (
    "As in Airflow's Dag processor, a process with Airflow's modules forks another one for each file, which "
    "imports the file and serializes its Dag. The number is the CPU time of the fork in milliseconds: the "
    "median of {times}, each the best of three, as other load on the machine can only add to it. *Airflow "
    "imported*: includes all other imports of the file, also the provider. *Provider imported*: before the "
    "fork, the process imports everything that the files import from `airflow`, as the Dag processor does by "
    "default (`parsing_pre_import_modules`); what remains is the Dag itself and `include/dbt_cloud`."
)


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Parse all Dag files with and without pre-imports."""
    times = 1 if context.quick else 10
    dags = sorted((PROJECT / "dags").glob("*.py"))
    settings = settings_in(context.directory / "parse")
    with context.progress.status("Parsing Dag files"):
        arguments = [times, TUTORIAL_DAG, *dags]
        by_imports = {
            "Airflow imported": run_workload(settings, "parse_dags", *arguments),
            "provider imported": run_workload(settings, "parse_dags", *arguments, "--pre-import"),
        }
    rows = [
        Row(
            f"{path.name}, {imports}: milliseconds of CPU",
            {OURS: milliseconds[str(path)], TUTORIAL: milliseconds[str(TUTORIAL_DAG)]},
        )
        for imports, milliseconds in by_imports.items()
        for path in dags
    ]
    milliseconds = by_imports["Airflow imported"]
    targets = []
    for path in dags:
        ratio = milliseconds[str(path)] / milliseconds[str(TUTORIAL_DAG)]
        text = f"{path.name}, Airflow imported: at most 20% slower than the tutorial's Dag"
        targets.append(Target(text, f"{ratio - 1:+.0%}", ratio <= MAX_RATIO))
    return BenchmarkResult("parse", "Parsing a Dag file", METHOD.format(times=times), rows, targets)
