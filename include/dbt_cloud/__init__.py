"""What the Dags share to work with dbt Cloud: the provider's classes, and what this project adds to them."""
