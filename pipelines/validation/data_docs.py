"""Great Expectations' Data Docs of a run: its own pages of the results in the validations table.

The pages take their styles and scripts from the web, as Great Expectations writes them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.validation.gx_adapter import build_data_docs
from millrace.schemas.errors import RunFailed
from millrace.schemas.tables import VALIDATIONS

_TUTORIAL = ("images/*.gif", "images/iterative-dev-loop.png")  # 3 MB that the pages do not show


def write(lake: LakeLocation, run_id: str) -> Path | None:
    """Write the Data Docs of a run; None where its contract has no expectations.

    A run that is resumed writes them again. Raises RunFailed where Great Expectations cannot.
    """
    rows = delta.values(lake, VALIDATIONS, [("run_id", "=", run_id)], ["rule", "result", "at"])
    results = [row for row in rows if row["result"] is not None]
    if not results:
        return None
    index = lake.data_docs(run_id)
    shutil.rmtree(index.parent, ignore_errors=True)
    stored = [json.loads(row["result"]) for row in results]
    build_data_docs(index.parent, run_id, stored, results[0]["at"])
    if not any((index.parent / "validations").rglob("*.html")):  # it logs a failure and continues
        raise RunFailed("Great Expectations wrote no page of the results", got=str(index.parent))
    for pattern in _TUTORIAL:
        for picture in (index.parent / "static").glob(pattern):
            picture.unlink()
    return index
