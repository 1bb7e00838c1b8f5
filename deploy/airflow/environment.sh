#!/usr/bin/env bash
# Airflow in an environment of its own, build/airflow: its pins differ from Millrace's. Seconds when it is there.
#
#     bash deploy/airflow/environment.sh .venv/bin/python
#
# The argument is a Python that has uv and is of the version that Airflow shall have.
set -euo pipefail
python=${1:?a Python with uv}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target="$here/../../build/airflow"
wanted=$(cat "$here/requirements.txt" "$here/constraints.txt")
if [ "$(cat "$target/.done" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
echo "setting up build/airflow: minutes the first time"
"$python" -m uv venv --quiet --clear --python "$python" "$target"
"$python" -m uv pip install --quiet --compile-bytecode --python "$target/bin/python" \
    -r "$here/requirements.txt" -c "$here/constraints.txt"
printf '%s\n' "$wanted" > "$target/.done"
