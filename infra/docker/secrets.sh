#!/bin/bash
# Writes .env: .env.example with a random secret wherever it has none. Never overwrites one: its secrets stand in the databases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ -e .env ]; then
  echo ".env is there already, and its secrets are in use: remove it first if you mean to make new ones" >&2
  exit 2
fi
umask 077
while IFS= read -r line; do
  [[ $line =~ ^[A-Z_]+=$ ]] && line+=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s\n' "$line"
done <.env.example >.env.new
mv .env.new .env
echo "wrote .env, which only you may read" >&2
