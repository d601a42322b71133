#!/bin/sh
# Run the main Dag in a running Airflow in which every user is an admin, and wait until it has succeeded.
# Usage: sh .github/run_main_dag.sh http://localhost:8080
set -eu
airflow=$1
dag=check_before_running_dbt_cloud_job
run=ci_$(date +%s)
token=$(curl --fail --silent --show-error "$airflow/auth/token" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')

call() { # METHOD PATH [BODY]
    curl --fail --silent --show-error --request "$1" "$airflow/api/v2/dags/$dag$2" ${3:+--data "$3"} \
        --header "Authorization: Bearer $token" --header "Content-Type: application/json"
}

# The Dag processor may need a moment.
for _ in $(seq 60); do
    if call GET "" >/dev/null 2>&1; then break; fi
    sleep 2
done
call POST /dagRuns "{\"dag_run_id\": \"$run\", \"logical_date\": null}" >/dev/null
call PATCH "" '{"is_paused": false}' >/dev/null
for _ in $(seq 150); do
    state=$(call GET "/dagRuns/$run" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')
    case $state in
        success) echo "Dag run $run: $state"; exit ;;
        failed) break ;;
    esac
    sleep 2
done
echo "Dag run $run: $state" >&2
call GET "/dagRuns/$run/taskInstances" >&2
exit 1
