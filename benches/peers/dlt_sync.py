"""One run of dlt: the tenant's meters, merged by their key. Arguments: the columns, the tenant."""

import os
import sys

import dlt
import sqlalchemy
from dlt.sources.sql_database import sql_table

columns, tenant = sys.argv[1].split(", "), int(sys.argv[2])
remote = os.environ["METERS_REMOTE"].replace("postgres://", "postgresql+psycopg2://", 1)
# dlt wants a password, though the server asks for none
local = os.environ["METERS_LOCAL"].replace("postgres://postgres@", "postgresql://postgres:none@", 1)


def of_tenant(query, table):
    return query.where(sqlalchemy.text(f"tenant_id = {tenant}"))


meters = sql_table(
    credentials=remote,
    table="meter",
    schema="public",
    included_columns=columns,
    query_adapter_callback=of_tenant,
    chunk_size=50_000,
)
meters.apply_hints(write_disposition="merge", primary_key="id")
pipeline = dlt.pipeline(
    pipeline_name="meters",
    pipelines_dir=os.path.join(os.environ["HOME"], "pipelines"),
    destination=dlt.destinations.postgres(local),
    dataset_name="public",
)
pipeline.run(meters)
