from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.read_only import read_only, spelling
from millrace.schemas.errors import QueryError
from millrace.schemas.tables import LEDGER, QUARANTINE, RUNS, Table


def write(lake: Path, table: Table, rows: list[dict[str, object]]) -> None:
    write_deltalake(str(lake / table.name), pa.Table.from_pylist(rows, schema=table.arrow_schema))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    run = {"x_RunId": "a", "x_Job": "j", "SkuMeter": "Core", "x_CostKind": "useful"}
    write(
        folder,
        LEDGER,
        [
            {**run, "EffectiveCost": Decimal("1.25"), "x_SlotMs": 3000, "x_RowsOut": 5},
            {**run, "EffectiveCost": Decimal("0.5"), "x_SlotMs": 2000, "x_RowsOut": 2},
        ],
    )
    write(folder, RUNS, [{"run_id": "a", "event": 0}, {"run_id": "a", "event": 1}])
    reasons = [{"rule": "r1", "severity": "error"}, {"rule": "r2", "severity": "warn"}]
    write(folder, QUARANTINE, [{"job": "j", "run_id": "a", "reasons": reasons}])
    labels = pa.table({"Id": [1, 2], "label": ["one", "two"], "it's": [True, False]})
    write_deltalake(str(folder / "labels_digits"), labels)
    return folder


def one(lake: Path, sql: str) -> object:
    """The only value of the only row."""
    (row,) = query(LakeLocation(lake), sql).to_pylist()
    (value,) = row.values()
    return value


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT count(*) FROM ledger", 2),
        ("select COUNT(*) from LEDGER;", 2),
        ("SELECT sum(EffectiveCost) FROM ledger WHERE x_CostKind = 'useful'", Decimal("1.75")),
        ("SELECT sum(effectivecost) FROM ledger WHERE X_COSTKIND = 'useful'", Decimal("1.75")),
        ('SELECT sum("EffectiveCost") FROM ledger', Decimal("1.75")),
        ("SELECT max(L.X_SLOTMS) FROM ledger AS l", 3000),
        ("WITH spent AS (SELECT x_RowsOut AS N FROM ledger) SELECT sum(n) FROM SPENT", 7),
        ("SELECT count(*) FROM Cost_By_Run", 1),
        ("SELECT slot_s FROM cost_by_run", 5.0),
        ("SELECT rows_scored FROM cost_per_thousand_rows", 7),
        ("SELECT count(*) FROM (SELECT unnest(reasons) AS r FROM quarantine)", 2),
        ("SELECT reasons[2]['rule'] FROM quarantine", "r2"),
        ("SELECT label FROM labels_digits WHERE id = 2", "two"),
        ('SELECT label FROM labels_digits WHERE "it\'s"', "one"),
        ("SELECT 'it''s -- not; a /* comment */'", "it's -- not; a /* comment */"),
        ("/* first */ SELECT 1 -- last", 1),
        ("(SELECT 1 WHERE false) UNION ALL (SELECT 2)", 2),
        ("VALUES (.5)", 0.5),
        ("SELECT r.event FROM runs r QUALIFY row_number() OVER (ORDER BY event DESC) = 1", 1),
    ],
)
def test_reads_are_answered_whatever_the_case_of_names(lake: Path, sql: str, value: object) -> None:
    assert one(lake, sql) == value


def test_a_column_in_the_result_has_its_own_spelling(lake: Path) -> None:
    found = query(
        LakeLocation(lake), "SELECT X_COSTKIND, effectivecost AS Paid FROM ledger ORDER BY paid"
    )
    assert found.column_names == ["x_CostKind", "Paid"]
    assert found.schema.field("x_CostKind").type == pa.string()


def test_explain_gives_the_plan(lake: Path) -> None:
    for sql in (
        "EXPLAIN SELECT * FROM ledger",
        "explain analyze verbose select * from runs_current",
    ):
        assert "plan" in query(LakeLocation(lake), sql).column_names


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs SELECT * FROM runs",
        "UPDATE runs SET event = 0",
        "DELETE FROM runs",
        "DROP TABLE runs",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '{target}'",
        "COPY runs TO '{target}'",
        "SET datafusion.execution.batch_size = 1",
        "TRUNCATE TABLE runs",
        "MERGE INTO runs USING runs r ON false WHEN MATCHED THEN DELETE",
        "SHOW TABLES",
        "DESCRIBE runs",
        "TABLE runs",
        "FROM runs",
        "WITH w AS (SELECT 1) INSERT INTO runs SELECT * FROM w",
        "WITH w AS (SELECT 1) DELETE FROM runs",
        "WITH w AS (DELETE FROM runs RETURNING *) SELECT * FROM w",
        "EXPLAIN COPY (SELECT 1) TO '{target}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'",
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs",
        "EXPLAIN EXPLAIN SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{target}'",
        "SELECT 1 -- harmless\n; DROP TABLE runs",
        "SELECT 1 /* ; */ ; /* SELECT */ DROP TABLE runs",
        "/* SELECT */ DROP TABLE runs",
        "-- SELECT 1\nDROP TABLE runs",
        "SELECT 'a\\'; DROP TABLE runs --'",
        "SELECT E'\\'' ; DROP TABLE runs --'",
        "SELECT $$ $$; DROP TABLE runs",
        "SELECT $tag$ x",
        "SELECT * FROM runs WHERE run_id = $1",
        "SELECT `run_id` FROM runs",
        "SELECT /*+ hint */ 1",
        "SELECT * INTO copied FROM runs",
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM csv('/etc/passwd')",
        "SELECT * FROM runs, LATERAL read_text('/etc/passwd')",
        "SELECT * FROM TABLE(read_text('/etc/passwd'))",
        "SELECT * FROM generate_series(1, 2)",
        "SELECT (SELECT count(*) FROM '/etc/passwd')",
        "SELECT * FROM runs WHERE run_id IN (SELECT a FROM '/etc/passwd')",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM datafusion.public.runs",
        "SELECT * FROM file:///etc/passwd",
        "",
        " ;; ",
        "-- only a comment",
        "EXPLAIN",
    ],
)
def test_whatever_is_not_one_read_over_known_tables_is_refused(
    lake: Path, tmp_path: Path, sql: str
) -> None:
    before = files(lake)
    with pytest.raises(QueryError) as refused:
        query(LakeLocation(lake), sql.replace("{target}", str(tmp_path / "out.csv")))
    assert refused.value.allowed or refused.value.next or refused.value.got
    assert files(lake) == before
    assert list(tmp_path.iterdir()) == []


def files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(file), file.stat().st_size) for file in folder.rglob("*") if file.is_file())


def test_a_comment_between_statements_cannot_reach_the_engine() -> None:
    statement = read_only("SELECT 1 /* ; DROP TABLE runs */ -- ; COPY")
    assert [token.text for token in statement.tokens] == ["SELECT", "1"]


@pytest.mark.parametrize(
    ("sql", "what", "next_step"),
    [
        ("SELECT * FROM ledgr", "no table or view ledgr in this lake", "did you mean ledger?"),
        ("SELECT * FROM digits_current", "no table or view digits_current", "did you mean"),
        ("SELECT x_CostKnd FROM ledger", "no column x_CostKnd", "did you mean x_CostKind?"),
        ("SELECT 'a", "this SQL cannot be read: Missing '", "close every quote"),
        ("SELECT 1 /* a", "this SQL cannot be read: it ends too early", "close every quote"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "nested too deeply", "use WITH"),
    ],
)
def test_a_wrong_name_or_quote_says_what_to_do_next(
    lake: Path, sql: str, what: str, next_step: str
) -> None:
    with pytest.raises(QueryError) as refused:
        query(LakeLocation(lake), sql)
    assert what in refused.value.what
    assert next_step in (refused.value.next or "")


def test_an_unknown_table_lists_what_there_is(lake: Path) -> None:
    with pytest.raises(QueryError) as refused:
        query(LakeLocation(lake), "SELECT * FROM nothing_like_it")
    listed = (refused.value.allowed or "").split(", ")
    assert {"labels_digits", "ledger", "runs_current", "waste"} <= set(listed)


def test_a_syntax_error_names_its_place(lake: Path) -> None:
    with pytest.raises(QueryError, match="line 2, column 15"):
        query(LakeLocation(lake), "SELECT (\n  SELECT 1 FROM")


@pytest.mark.parametrize("sql", ["SELECT 1 / 0", "SELECT CAST('q' AS INT)", "SELECT nosuch(1)"])
def test_an_error_of_the_engine_is_one_clear_line(lake: Path, sql: str) -> None:
    with pytest.raises(QueryError) as refused:
        query(LakeLocation(lake), sql)
    assert refused.value.what.startswith("the query cannot be answered: ")
    assert "\n" not in refused.value.what
    assert len(refused.value.what) < 250


def test_a_folder_that_is_no_lake_says_what_to_do_next(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full" / "sub").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for folder, what in (
        (tmp_path / "absent", "no lake at"),
        (tmp_path / "file", "no lake at"),
        (tmp_path / "empty", "no tables in"),
        (tmp_path / "full", "no tables in"),
        (lake / "runs", "is one table, not a lake"),
    ):
        with pytest.raises(QueryError, match=what) as refused:
            query(LakeLocation(folder), "SELECT 1")
        assert refused.value.next


def test_a_table_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken" / "_delta_log").mkdir(parents=True)
    with pytest.raises(QueryError, match="table broken cannot be opened"):
        query(LakeLocation(tmp_path), "SELECT * FROM broken")


@pytest.mark.parametrize(
    ("written", "known", "expected"),
    [
        ("RUNS", ["runs", "ledger"], "runs"),
        ("Runs", ["runs", "Runs"], "Runs"),
        ("RUNS", ["runs", "Runs"], "RUNS"),  # either could be meant: left for the engine to refuse
        ("other", ["runs"], "other"),
    ],
)
def test_a_name_is_respelled_only_where_one_alone_can_be_meant(
    written: str, known: list[str], expected: str
) -> None:
    assert spelling(written, known) == expected


def test_a_query_starts_without_spark_torch_or_pandas(lake: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom millrace.pipelines.query.engine import query\nfrom millrace.pipelines.lake.location import LakeLocation\n"
        f"assert query(LakeLocation(Path({str(lake)!r})), 'SELECT * FROM waste').num_rows == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert not {"pyspark", "torch", "pandas", "pydantic"} & set(done.stdout.split())


def test_a_misspelled_column_is_compared_with_those_of_its_own_table(lake: Path) -> None:
    joined = "FROM ledger AS l JOIN runs AS r ON l.x_RunId = r.run_id"
    with pytest.raises(QueryError, match="no column stat") as of_runs:
        query(LakeLocation(lake), f"SELECT r.stat {joined}")
    assert of_runs.value.next == "did you mean state?"
    assert "x_CostKind" not in (of_runs.value.allowed or "").split(", ")

    with pytest.raises(QueryError, match="no column x_CostKnd") as of_view:
        query(LakeLocation(lake), "SELECT x_CostKnd FROM runs_current")
    assert (of_view.value.next, "state" in (of_view.value.allowed or "")) == (None, True)


def test_sums_that_would_wrap_are_right_as_the_page_casts_them(tmp_path: Path) -> None:
    cost = pa.array([Decimal(10) ** 26 - 1] * 4, pa.decimal128(38, 12))
    big = pa.table({"n": pa.array([2**62] * 4, pa.int64()), "cost": cost})
    write_deltalake(str(tmp_path / "lake" / "big"), big)

    def total(sql: str) -> Any:
        return query(LakeLocation(tmp_path / "lake"), f"SELECT {sql} AS s FROM big").to_pylist()[0][
            "s"
        ]

    assert total("SUM(n)") == 0, "DataFusion raises or widens now: the page says that it wraps"
    assert total("SUM(CAST(n AS DECIMAL(38, 0)))") == 2**64
    assert total("SUM(cost)") < Decimal(10) ** 26, "less than one of the four"
    assert total("SUM(CAST(cost AS DECIMAL(38, 6)))") == 4 * (Decimal(10) ** 26 - 1)
