# An account as a platform team provisions it: a project, environments, a connection, variables, jobs of all kinds.
terraform {
  required_providers {
    dbtcloud = { source = "dbt-labs/dbtcloud", version = "~> 1.12" }
  }
}
provider "dbtcloud" {}

variable "remote_url" { type = string }
variable "timeout" { default = 600 }
variable "color" { default = "red" }

resource "dbtcloud_project" "shop" {
  name        = "Shop"
  description = "Made by Terraform"
}
resource "dbtcloud_repository" "shop" {
  project_id         = dbtcloud_project.shop.id
  remote_url         = var.remote_url
  git_clone_strategy = "deploy_key"
}
resource "dbtcloud_project_repository" "shop" {
  project_id    = dbtcloud_project.shop.id
  repository_id = dbtcloud_repository.shop.repository_id
}
resource "dbtcloud_global_connection" "warehouse" {
  name = "Warehouse"
  postgres = {
    hostname = "warehouse.example.com"
    port     = 5432
    dbname   = "shop"
  }
}
resource "dbtcloud_postgres_credential" "prod" {
  project_id     = dbtcloud_project.shop.id
  default_schema = "prod"
  username       = "dbt"
  password       = "hush"
  num_threads    = 4
  type           = "postgres"
  target_name    = "default"
}
resource "dbtcloud_environment" "prod" {
  project_id      = dbtcloud_project.shop.id
  name            = "Production"
  type            = "deployment"
  deployment_type = "production"
  dbt_version     = "latest"
  connection_id   = dbtcloud_global_connection.warehouse.id
  credential_id   = dbtcloud_postgres_credential.prod.credential_id
}
resource "dbtcloud_environment" "staging" {
  project_id      = dbtcloud_project.shop.id
  name            = "Staging"
  type            = "deployment"
  deployment_type = "staging"
  dbt_version     = "latest"
  connection_id   = dbtcloud_global_connection.warehouse.id
}
resource "dbtcloud_environment_variable" "color" {
  project_id = dbtcloud_project.shop.id
  name       = "DBT_COLOR"
  environment_values = {
    project    = "gray"
    Production = var.color
  }
  depends_on = [dbtcloud_environment.prod]
}
resource "dbtcloud_environment_variable_job_override" "color" {
  project_id        = dbtcloud_project.shop.id
  name              = dbtcloud_environment_variable.color.name
  job_definition_id = dbtcloud_job.hourly.id
  raw_value         = "blue"
}
locals {
  no_triggers = { github_webhook = false, git_provider_webhook = false, schedule = false, on_merge = false }
  job         = { project_id = dbtcloud_project.shop.id, environment_id = dbtcloud_environment.prod.environment_id }
}
resource "dbtcloud_job" "hourly" {
  name            = "Hourly"
  project_id      = local.job.project_id
  environment_id  = local.job.environment_id
  execute_steps   = ["dbt run --select one"]
  timeout_seconds = var.timeout
  triggers        = merge(local.no_triggers, { schedule = true })
  schedule_type   = "every_day"
  schedule_hours  = [0, 6, 12, 18]
}
resource "dbtcloud_job" "interval" {
  name              = "Every few hours"
  project_id        = local.job.project_id
  environment_id    = local.job.environment_id
  execute_steps     = ["dbt run"]
  triggers          = merge(local.no_triggers, { schedule = true })
  schedule_type     = "interval_cron"
  schedule_interval = 5
  schedule_days     = [0, 1, 2, 3, 4, 5, 6]
}
resource "dbtcloud_job" "cron" {
  name           = "Cron"
  project_id     = local.job.project_id
  environment_id = local.job.environment_id
  execute_steps  = ["dbt run"]
  triggers       = merge(local.no_triggers, { schedule = true })
  schedule_type  = "custom_cron"
  schedule_cron  = "30 6 * * 1-5"
}
resource "dbtcloud_job" "weekdays" {
  name           = "Weekdays"
  project_id     = local.job.project_id
  environment_id = local.job.environment_id
  execute_steps  = ["dbt run"]
  triggers       = merge(local.no_triggers, { schedule = true })
  schedule_type  = "days_of_week"
  schedule_days  = [1, 2, 3, 4, 5]
  schedule_hours = [7]
}
resource "dbtcloud_job" "ci" {
  name                     = "CI"
  project_id               = local.job.project_id
  environment_id           = dbtcloud_environment.staging.environment_id
  execute_steps            = ["dbt build --select state:modified+"]
  triggers                 = merge(local.no_triggers, { github_webhook = true, git_provider_webhook = true })
  schedule_type            = "every_day"
  schedule_hours           = [1]
  deferring_environment_id = dbtcloud_environment.prod.environment_id
  run_compare_changes      = false
}
resource "dbtcloud_job" "merge" {
  name           = "Merge"
  project_id     = local.job.project_id
  environment_id = local.job.environment_id
  execute_steps  = ["dbt build"]
  triggers       = merge(local.no_triggers, { on_merge = true })
}
resource "dbtcloud_job" "downstream" {
  name           = "After hourly"
  project_id     = local.job.project_id
  environment_id = local.job.environment_id
  execute_steps  = ["dbt run"]
  triggers       = local.no_triggers
  job_completion_trigger_condition {
    job_id     = dbtcloud_job.hourly.id
    project_id = dbtcloud_project.shop.id
    statuses   = ["success"]
  }
}
data "dbtcloud_global_connections" "all" {
  depends_on = [dbtcloud_global_connection.warehouse]
}
data "dbtcloud_environments" "all" {
  depends_on = [dbtcloud_environment.prod]
}
