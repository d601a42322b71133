"""Run the command ``local-dbt-cloud`` as ``python -m local_dbt_cloud``."""

from local_dbt_cloud.cli import main

main()
