#!/bin/bash
# The worker's container. A run reaches Ray's cluster through a node of its own: this one, without CPUs, does none of its work.
set -euo pipefail

python - <<'PYTHON'
import os
from urllib.parse import urlsplit

from infra.store.s3_client import connect

client, bucket = connect(), urlsplit(os.environ["SLIPWAY_STORE"]).netloc
if bucket not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
    client.create_bucket(Bucket=bucket)
PYTHON

while true; do # the head may be started anew: the node joins it again, and what trains without Ray does not notice
  ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 --block || true
  sleep 5
done &

exec python -m flows.serve
