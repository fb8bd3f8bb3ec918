"""The report says the verdict first, and neither runs nor leaks what the data holds."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from browser_kit import Browser

from aigc_pipeline.evaluation import Evaluation, Score, check_gates, evaluate, render_report
from aigc_pipeline.evaluation.result import Influence, Learned
from aigc_pipeline.evaluation.wording import against_fresh
from aigc_pipeline.schema import ColumnSchema, TableSchema
from aigc_pipeline.sources import infer_schema, read_table
from aigc_pipeline.spec import DatasetSpec, Gate, Kind, Source, TableSpec

EVIL = "<script>alert('x')</script>"
EVIL_NAME = "\"><img src=x onerror=alert(1)>{{ 7*7 }}'&"
VOID = {"meta", "br", "path", "rect", "line", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """A parsed page: tags in order, attributes, visible text by tag, unclosed tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, (tag, self.open[-4:])
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            around = next(tag for tag in reversed(self.open) if tag != "bdi")
            self.texts.append((around, " ".join(data.split())))

    def text(self, tag: str | None = None) -> str:
        return " ".join(text for where, text in self.texts if tag in (None, where))


def spec(*tables: str, gates: dict[str, Gate] | None = None, **fields: object) -> DatasetSpec:
    source = {"source": {"file": "people.csv"}, "target": "city"}
    return DatasetSpec(
        name="people", tables=dict.fromkeys(tables, source), gates=gates or {}, **fields
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def people() -> pl.DataFrame:
    """The patients of scikit-learn's diabetes data, with one canary in each kind of column."""
    from sklearn.datasets import load_diabetes

    df = pl.from_pandas(load_diabetes(as_frame=True, scaled=False).frame)
    row = pl.int_range(pl.len())
    return df.with_columns(
        pl.when(row == 3).then(7_654_321.0).otherwise(pl.col("bmi")).alias("bmi"),
        pl.when(row == 3).then(pl.lit("Atlantis"))
        .when(row % 3 == 0).then(pl.lit(EVIL)).otherwise(pl.lit("Rome & Bern")).alias("city"),
    ).rename({"age": EVIL_NAME})  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(people: pl.DataFrame) -> Evaluation:
    columns = [
        ColumnSchema(
            name=name,
            kind=Kind.CATEGORY if dtype == pl.String else Kind.NUMBER,
            dtype=str(dtype),
            nullable=False,
        )
        for name, dtype in people.schema.items()
    ]
    schema = TableSchema(name="people", columns=columns)
    synthetic = people.select(pl.col(c).shuffle(seed=i) for i, c in enumerate(people.columns))
    return evaluate(people[:300], people[300:], synthetic, schema, target="city")


def render(evaluation: Evaluation, gates: dict[str, Gate], **fields: object) -> tuple[str, Page]:
    dataset = spec("people", gates=gates, **fields)
    verdicts = check_gates({"people": evaluation}, gates)
    html = render_report(dataset, {"people": evaluation}, verdicts, {"Seed": "0"})
    return html, Page(html)


def test_a_refusal_comes_first_and_says_why(evaluation: Evaluation) -> None:
    gates = {"detection_auc": Gate(max=0.6), "shape_error": Gate(max=0.2)}
    _, page = render(evaluation, gates)
    assert page.open == []
    words = page.text()
    assert words.index("Refused") < words.index("Gates") < words.index("Fidelity")
    assert "1 of 2 gates was missed, so these rows are not released" in words
    value = f"{evaluation.scores['detection_auc'].value:.3f}"
    assert f"{value}, and the gate asks for at most 0.600. Fresh real rows get" in words
    assert words.count("✗ missed") == 1 and words.count("✓ passed") == 1
    assert "✗ gate missed" in words


def test_an_approval_and_a_page_without_gates(evaluation: Evaluation) -> None:
    _, page = render(evaluation, {"shape_error": Gate(max=0.2)})
    assert "Approved for release" in page.text() and "The one gate is passed." in page.text()
    _, page = render(evaluation, {"copied_rows": Gate(max="holdout"), "shape_error": Gate(max=1)})
    assert "All 2 gates are passed." in page.text()
    assert "at most 2.11 %, from fresh real rows" in page.text("td")  # 3 in 142
    _, page = render(evaluation, {})
    assert "Scored, not judged" in page.text() and "✓" not in page.text("span")


def test_what_was_not_evaluated_is_said_in_words(evaluation: Evaluation) -> None:
    small = evaluation.model_copy(
        update={
            "scores": {
                **evaluation.scores,
                "utility_gap": evaluation.scores["utility_gap"].model_copy(
                    update={"value": None, "why_not": "the table has no target"}
                ),
            }
        }
    )
    _, page = render(small, {"utility_gap": Gate(max=0.1)})
    assert "not evaluated" in page.text("p") and "the table has no target" in page.text("p")
    assert "its gate refuses: the table has no target" in page.text("li")


def test_hostile_names_and_values_stay_text(evaluation: Evaluation) -> None:
    html, page = render(
        evaluation,
        {"shape_error": Gate(max=0.2)},
        title=EVIL,
        description=EVIL_NAME,
        domain=EVIL,
        owners=[EVIL],
    )
    assert EVIL not in html and EVIL_NAME not in html and "<img" not in html
    assert EVIL in page.text() and "{{ 7*7 }}" in page.text()
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "link", "foreignobject")
        assert not any(name.startswith("on") for name in attributes), attributes
        assert not {"href", "src", "xlink:href", "action"} & {
            name for name in attributes if not (attributes[name] or "").startswith("#")
        }
    drawn = html[html.index("<svg xmlns") :]
    assert "alert(1)" in drawn and "&lt;img" in drawn  # the heatmap's labels


def test_no_request_and_no_script_is_possible(evaluation: Evaluation) -> None:
    html, page = render(evaluation, {})
    policy = [
        a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy and policy[0].startswith("default-src 'none'") and "script-src" not in policy[0]
    assert "http" not in html.replace("http-equiv", "").replace(
        "http://www.w3.org/2000/svg", ""
    ).replace("http://www.w3.org/1999/xlink", "")
    assert "@import" not in html and "url(" not in html


def test_no_extreme_and_no_rare_value_is_on_the_page(evaluation: Evaluation) -> None:
    for gates in ({}, {"shape_error": Gate(max=0.0)}):
        html, _ = render(evaluation, gates)
        assert "Atlantis" not in html
        assert "7654321" not in html and "7,654,321" not in html and "7.65" not in html
        assert "(other)" in html


def test_charts_have_words_and_colours_follow_the_page(evaluation: Evaluation) -> None:
    html, page = render(evaluation, {})
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) >= 10
    assert all(p.get("role") == "img" and p.get("aria-label") for p in pictures)
    assert "prefers-color-scheme: dark" in html and "var(--heat-0)" in html
    assert [t for t, _ in page.tags].count("h1") == 1
    assert ("html", {"lang": "en"}) in page.tags
    regions = [a for _, a in page.tags if a.get("role") == "region"]
    assert all(a.get("tabindex") == "0" for a in regions)  # scrolled by keyboard too
    labels = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labels <= {a["id"] for _, a in page.tags if "id" in a}


def test_which_columns_inform_which_is_shown_or_why_not(evaluation: Evaluation) -> None:
    _, page = render(evaluation, {})
    assert "Not evaluated: the model behind the synthetic rows was not given." in page.text("p")
    found = [
        Influence(column=f"c{i}", informs=EVIL, nats=(20 - i) / 10, share=0.25) for i in range(12)
    ]
    told = evaluation.model_copy(update={"learned": Learned(rows=1_000, influences=found)})
    html, page = render(told, {})
    assert page.open == [] and EVIL not in html
    words = page.text()
    assert "hidden from it on 1,000 rows it never saw" in words
    assert f"c0 → {EVIL}" in page.text("th") and "The next 2 pairs" in page.text("summary")
    assert "2.00" in page.text("td") and "25 %" in page.text("td")
    none = evaluation.model_copy(update={"learned": Learned(rows=1_000)})
    assert "No column tells the model anything" in render(none, {})[1].text("p")
    silent = evaluation.model_copy(update={"learned": Learned(why_not="a gan has none")})
    assert "Not evaluated: a gan has none." in render(silent, {})[1].text("p")


def test_a_membership_score_shows_its_confidence_bound(evaluation: Evaluation) -> None:
    known = Score(
        value=0.53, error=0.01, upper=0.5464, reference=0.5, reference_error=0.01, better="half"
    )
    scores = {**evaluation.scores, "membership_auc": known}
    told = evaluation.model_copy(update={"scores": scores})
    _, page = render(told, {"membership_auc": Gate(max=0.54)})
    assert "at most 0.546 with 95 % confidence" in page.text("p")
    assert "0.546, and the gate asks for at most 0.540 with 95 % confidence" in page.text("li")
    assert "trained on with an AUC of 0.530" in page.text("dd")
    assert against_fresh("membership_auc", known) is False
    near = known.model_copy(update={"value": 0.52})
    assert against_fresh("membership_auc", near) is True


def test_the_report_speaks_chinese(evaluation: Evaluation) -> None:
    scores = {
        **evaluation.scores,
        "utility_gap": Score(value=None, better="low", why_not="because"),
    }
    told = evaluation.model_copy(update={"scores": scores})
    html, page = render(told, {"detection_auc": Gate(max=0.1)}, locale="zh")
    assert ("html", {"lang": "zh"}) in page.tags and page.open == []
    words = page.text()
    assert (
        "未通过" in words and "1 项门槛中有 1 项未达标" in words and "门槛要求不高于 0.100" in words
    )
    assert "已知局限" in words and "隐私数字说明了什么" in words
    for english in ("Refused", "Fidelity", "fresh real rows", "shape error", "Not tested", "below"):
        assert english not in html, english
    # What says why something failed is English, and says so to whoever reads it aloud.
    assert '<span lang="en" dir="ltr">because</span>' in html


@pytest.mark.parametrize(
    ("locale", "width", "dark"),
    [("en", 1280, False), ("en", 400, True), ("zh", 1280, True), ("zh", 400, False)],
)
def test_the_report_in_a_browser(
    evaluation: Evaluation, browser: Browser, tmp_path: Path, locale: str, width: int, dark: bool
) -> None:
    found = [Influence(column=EVIL_NAME, informs=EVIL, nats=2.0, share=0.25)] * 12
    told = evaluation.model_copy(update={"learned": Learned(rows=1_000, influences=found)})
    gates = {"detection_auc": Gate(max=0.6), "shape_error": Gate(max="holdout")}
    html, _ = render(told, gates, locale=locale, title=EVIL, owners=[EVIL_NAME])
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    page = browser.open(tmp_path / "report.html", width, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.errors + page.external + page.overflowing() + page.violations() == []
    page.press("Tab")  # a keyboard reaches the sections, and the tables that scroll
    assert page.evaluate("document.activeElement.matches('nav a')")
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(part => part.tabIndex === 0)"
    )
    page.close()


def test_several_tables_each_have_their_section(evaluation: Evaluation) -> None:
    evaluations = {"people": evaluation, EVIL: evaluation.model_copy(update={"table": EVIL})}
    gates = {"detection_auc": Gate(max=0.6)}
    html = render_report(
        spec("people"), evaluations, check_gates(evaluations, gates), {"Note": EVIL}
    )
    page = Page(html)
    assert page.open == [] and "2 of 2 gates were missed" in page.text()
    assert page.text("h2").count("people") == 1 and EVIL in page.text("h2")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_a_table_with_nothing_to_compare_has_a_page_too() -> None:
    schema = TableSchema(
        name="people",
        columns=[ColumnSchema(name="key", kind=Kind.ID, dtype="Int64", nullable=False, key=True)],
    )
    keys = pl.DataFrame({"key": range(100)})
    found = evaluate(keys, keys, keys, schema)
    _, page = render(found, {"shape_error": Gate(max=0.1)})
    assert "Refused" in page.text() and "every column is generated afresh" in page.text()


def test_a_page_of_many_columns_stays_small() -> None:
    loans = read_table(Source(sample="openintro/loans_full_schema"), Path.cwd(), name="loans")
    order = np.random.default_rng(0).permutation(loans.height)[:1_200]
    schema = infer_schema(loans, "loans", TableSpec(source=Source(file="loans.csv")))
    parts = [loans[rows] for rows in np.array_split(order, 3)]
    html, page = render(evaluate(*parts, schema), {})
    assert len(html.encode()) < 500_000
    assert page.text().count("shape error") >= 50
    income = loans["annual_income"].sort(descending=True)[0]
    assert f"{income:.0f}" not in html and f"{income:,.0f}" not in html
