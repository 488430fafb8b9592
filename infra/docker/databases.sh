#!/bin/bash
# Run once by PostgreSQL's image, when its folder is empty: two roles, and a database of its own for each that keeps something.
set -euo pipefail

psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres \
  --set mlflow="$MLFLOW_PASSWORD" --set prefect="$PREFECT_PASSWORD" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_accounts OWNER mlflow;
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT ON DATABASE mlflow, mlflow_accounts, prefect FROM PUBLIC;
SQL
