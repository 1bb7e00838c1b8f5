#!/usr/bin/env bash
# The GPUs of this machine, as Spark's resource discovery reads them: {"name": "gpu", "addresses": ["0"]}.
# Fails where the driver does, or has none: an executor that has no GPU must not start as if it had.
set -euo pipefail

found=$(nvidia-smi --query-gpu=index --format=csv,noheader)
[ -n "$found" ] || { echo "nvidia-smi knows of no GPU" >&2; exit 1; }
printf '{"name": "gpu", "addresses": [%s]}\n' "$(sed -E 's/.*/"&"/' <<<"$found" | paste -sd, -)"
