"""Fuzzing the endpoint: whatever it is sent, it answers or refuses, tells and writes nothing.

CI gives each target some seconds; AIGC_STRESS=1 gives it twenty minutes (AIGC_FUZZ_SECONDS).
"""

from __future__ import annotations

import json
from typing import Any

from endpoint_kit import Endpoint
from fuzz_kit import ANY, AWKWARD, TEXT, examples, fuzz
from guarantees import times
from hypothesis import given
from hypothesis import strategies as st
from queries_kit import ANSWERED, PLACES, REFUSED

from aigc_pipeline.server.answers import ARROW
from aigc_pipeline.server.statement import FORBIDDEN, HIDDEN_VIEWS, ROW_SOURCES

NAME = st.sampled_from(
    ["shop.orders", "city", "amount", "orders", "x", "shop_marts.by_city", "catalog.datasets",
     "information_schema.tables", "pg_catalog.pg_class", "warehouse", "system", "main", "memory",
     "duckdb_databases", "duckdb_secrets", "duckdb_logs", *HIDDEN_VIEWS]
)  # fmt: skip
FUNCTION = st.sampled_from(
    ["abs", "length", "upper", "list_transform", "list_aggregate", "struct_pack", "count", "sum",
     "string_agg", "row", "regexp_matches", "read_csv", "read_text", "glob", "duckdb_settings",
     "duckdb_databases", "duckdb_extensions", "pragma_database_list", "parquet_scan", "histogram",
     "json_serialize_sql", "json_deserialize_sql", *sorted(FORBIDDEN), *sorted(ROW_SOURCES)]
)  # fmt: skip
GAP = st.sampled_from(["", " ", "\n", "/**/", "/* ' */", "-- x\n", "\t", "\u00a0", "\u2003", ";"])
LITERAL = st.sampled_from(
    ["1", "'a'", "NULL", "''", "'AIGC_CANARY'", "'temp_directory'", "'/etc/passwd'", "$1", "?",
     "'SELECT 1'", "'duckdb_settings'", "1e308", "-1", "DATE '2024-01-01'", "[1, 2]", "{'a': 1}",
     "$$ x $$", "e'\\x00'", "x'00'", "INTERVAL 1 DAY", "*", "COLUMNS('c.*')", "lambda x: x"]
)  # fmt: skip


def quoted(name: str, how: int) -> str:
    """A name as it is, in quotes, in capitals, or as a method."""
    return (name, f'"{name}"', name.upper(), f"'a'.{name}", f"system.main.{name}")[how]


CALL = st.builds(
    lambda name, how, gap, *inner: f"{quoted(name, how)}{gap}({', '.join(inner)})",
    FUNCTION,
    st.integers(0, 4),
    GAP,
    LITERAL | NAME,
)
EXPRESSION = st.recursive(
    LITERAL | NAME | CALL,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "||", "=", "IN", "::"]), inner),
        st.builds("{}({}, {})".format, FUNCTION, inner, inner),
        st.builds("(SELECT {} FROM {})".format, inner, NAME | CALL),
        st.builds("CASE WHEN {} THEN {} END".format, inner, inner),
        st.builds("[{} FOR x IN [{}]]".format, inner, inner),
        st.builds("{} OVER (ORDER BY {})".format, CALL, inner),
        st.builds(str.format, st.sampled_from(PLACES), inner).map("({})".format),
    ),
    max_leaves=6,
)
STATEMENT = st.one_of(
    st.builds(str.format, st.sampled_from(PLACES), EXPRESSION),
    st.builds("{} {}".format, st.sampled_from(["FROM", "SUMMARIZE", "DESCRIBE", "TABLE"]), CALL),
    st.builds("SELECT {} FROM {} WHERE {}".format, EXPRESSION, NAME | CALL, EXPRESSION),
    st.builds("WITH {} AS (SELECT {}) FROM {}".format, NAME, EXPRESSION, NAME),
    st.builds("EXPLAIN{}ANALYZE{}{}".format, GAP, GAP, st.sampled_from(REFUSED["write"])),
    st.builds("{}{}{}".format, st.sampled_from(ANSWERED), GAP, st.sampled_from(REFUSED["write"])),
)
WHOLE = [sql for asked in REFUSED.values() for sql in asked] + ANSWERED


@st.composite
def cut(draw: st.DrawFn) -> str:
    """A query with something put into it, or a part taken out."""
    sql = draw(st.sampled_from(WHOLE))
    start = draw(st.integers(0, len(sql)))
    end = draw(st.integers(start, min(len(sql), start + 10)))
    return sql[:start] + draw(TEXT | st.sampled_from(AWKWARD) | GAP | NAME) + sql[end:]


def test_fuzz_the_endpoint_with_sql(endpoint: Endpoint, tried: Any) -> None:
    line = tried("Attacks", "the endpoint fuzzed with SQL: a grammar, queries with parts changed")

    def ask(sql: str) -> None:
        body = json.dumps({"sql": sql, "rows": 5})
        headers = {"content-type": "application/json"}
        answer = endpoint.send("POST", data=body.encode(), headers=headers)
        line.happened("answered" if answer.status_code == 200 else "refused")

    @examples(120)
    @given(STATEMENT)
    def by_a_grammar(sql: str) -> None:
        ask(sql)

    @examples(60)
    @given(cut())
    def changed(sql: str) -> None:
        ask(sql)

    with endpoint.untouched():
        fuzz(by_a_grammar, changed)


HEADER = st.dictionaries(
    st.sampled_from(
        ["accept", "content-type", "origin", "sec-fetch-site", "authorization", "host", "range",
         "content-encoding", "expect", "upgrade", "connection", "x-forwarded-for", "cookie"]
    ),
    st.sampled_from(
        ["", "*/*", "text/plain", "application/json", ARROW, "null", "http://x", "cross-site",
         "localhost", "127.0.0.1", "gzip", "100-continue", "websocket", "upgrade", "bytes=0-1",
         "Basic !", "a" * 5_000, "é", ",;,"]
    ),
    max_size=4,
)  # fmt: skip
BODY = (
    st.binary(max_size=200)
    | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.dictionaries(st.sampled_from(["sql", "rows", "x"]) | TEXT, ANY, max_size=3).map(
        lambda data: json.dumps(data, default=str).encode("utf-8", "surrogatepass")
    )
)


def test_fuzz_the_endpoint_with_requests(endpoint: Endpoint, tried: Any) -> None:
    line = tried("Attacks", "the endpoint fuzzed with bodies, headers, addresses and raw bytes")

    def outcome(status: int) -> None:
        line.happened("answered" if status == 200 else "refused")

    @examples(80)
    @given(BODY, HEADER)
    def bodies(body: bytes, headers: dict[str, str]) -> None:
        sent = {name: value.encode() for name, value in headers.items()}
        outcome(endpoint.send("POST", data=body, headers=sent).status_code)

    @examples(60)
    @given(
        st.sampled_from(["/query", "/", "/ask", "/table", "/dataset", "/static/", "/query/", "//"]),
        st.dictionaries(st.sampled_from(["sql", "rows", "name", "schema"]), TEXT, max_size=3),
        st.sampled_from(["GET", "HEAD", "POST", "PUT", "TRACE", "DELETE"]),
    )
    def addresses(path: str, asked: dict[str, str], method: str) -> None:
        given = {name: text.encode("utf-8", "surrogatepass") for name, text in asked.items()}
        outcome(endpoint.send(method, path, params=given).status_code)

    @examples(40)
    @given(
        st.binary(max_size=300)
        | st.builds(
            "{} {} HTTP/{}\r\n{}\r\n\r\n{}".format,
            st.sampled_from(["GET", "POST", "get", ""]) | TEXT,
            st.sampled_from(["/query?sql=SELECT+1", "*", "http://x/query", "/%00", "/..%2f.."]),
            st.sampled_from(["1.1", "1.0", "2", "9.9"]),
            st.sampled_from(
                ["host: localhost", "host: a\r\nhost: b", "host: localhost\r\ncontent-length: -1",
                 "host: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked", " x", ":"]
            ),
            TEXT,
        ).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )  # fmt: skip
    def raw(data: bytes) -> None:
        outcome(endpoint.send_raw(data))

    with endpoint.untouched():
        fuzz(bodies, addresses, raw)


def test_every_function_that_duckdb_has(endpoint: Endpoint, tried: Any) -> None:
    """Whatever a function is called in a later DuckDB: it tells nothing, or it is refused."""
    line = tried("Attacks", "the endpoint asked for every function that DuckDB has")
    named = "function_name ~ '^\\w+$' AND function_name NOT LIKE '%collate\\_%' ESCAPE '\\'"
    found = endpoint.rows(
        f"SELECT list(DISTINCT function_name) FROM duckdb_functions() WHERE {named}"
    )
    names = sorted(found[0][0])
    assert len(names) > 600
    texts = ["'temp_directory'", "", "'AIGC_CANARY'", "'warehouse'", "1"][: times(1, 5)]
    with endpoint.untouched():
        for name in names:
            for arguments in texts:
                for sql in (f'SELECT "{name}"({arguments})', f'FROM "{name}"({arguments})'):
                    answer = endpoint.send("POST", json={"sql": sql})
                    line.happened("told nothing" if answer.status_code == 200 else "refused")
