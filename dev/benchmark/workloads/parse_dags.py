"""Parse Dag files as Airflow's Dag processor does, each in a forked process, and print the CPU time."""

import argparse
import importlib
import json
import multiprocessing
import statistics
import time
from pathlib import Path

# Modules that the Dag processor has imported when it forks.
import airflow.dag_processing.manager
import airflow.dag_processing.processor  # noqa: F401
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.file import iter_airflow_imports

TRIES = 3


def parse(path: Path) -> float:
    """Import a Dag file and serialize its Dag; return the CPU time in milliseconds."""
    start = time.process_time()
    bag = DagBag(dag_folder=path, load_op_links=False)
    for dag in bag.dags.values():
        DagSerialization.to_dict(dag)
    milliseconds = (time.process_time() - start) * 1000
    assert bag.dags, bag.import_errors
    return milliseconds


def best_of_tries(milliseconds: list[float]) -> list[float]:
    """Return the minimum of each group of tries: other load on the machine can only add to it."""
    return [min(milliseconds[first : first + TRIES]) for first in range(0, len(milliseconds), TRIES)]


def main() -> None:
    """Print the median CPU time of each file in milliseconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("times", type=int)
    parser.add_argument("paths", nargs="+", type=Path)
    # Airflow's parsing_pre_import_modules, which is on by default.
    parser.add_argument("--pre-import", action="store_true", help="import the files' airflow modules first")
    options = parser.parse_args()
    for path in options.paths if options.pre_import else ():
        for module in iter_airflow_imports(str(path)):
            importlib.import_module(module)
    # Alternating, so that other load affects all files alike. The first round compiles them.
    paths = options.paths * (options.times * TRIES + 1)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        milliseconds = pool.map(parse, paths, chunksize=1)
    count = len(options.paths)
    print(json.dumps({
        str(path): statistics.median(best_of_tries(milliseconds[index + count :: count]))
        for index, path in enumerate(options.paths)
    }))  # fmt: skip


if __name__ == "__main__":
    main()
