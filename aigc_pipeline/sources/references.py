"""What a dataset file says of a table's columns, checked against the columns there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from aigc_pipeline.errors import FieldError, FieldPath, did_you_mean
from aigc_pipeline.schema import TableSchema
from aigc_pipeline.sources.clean import is_pattern
from aigc_pipeline.sources.derive import derive_order, derived_columns, parse_expression
from aigc_pipeline.spec import Kind, ParentSpec, TableSpec

Problem = tuple[FieldPath, str]
_COMPARISONS = ("less_equal", "less_than")
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")


def check_references(columns: Iterable[str], table: TableSpec, at: FieldPath) -> None:
    """Raise FieldError for every column named in a table's spec that is not there.

    columns: the source's. Derived columns count as there. at: path of the table's field. Also
    raises for expressions that do not parse, name unknown columns or need each other in a circle.
    """
    columns = list(columns)
    problems: list[Problem] = []
    derived = derived_columns(table)
    valid = [*columns, *(name for name in derived if name not in columns)]
    lower = {name.lower(): name for name in columns}
    for name in derived:
        if is_pattern(name):
            text = f"{name!r} cannot name a column, it is a pattern; choose another name"
            problems.append(((*at, "derive", name), text))
        other = lower.setdefault(name.lower(), name)
        if other != name:
            text = f"differs from the column {other!r} only by case, which SQL ignores; rename it"
            problems.append(((*at, "derive", name), text))
    owner = table.owner(str(at[-1]))
    for path, name in _named_columns(table):
        if path[-1] in _COMPARISONS and owner_column(name, valid, owner):
            continue  # checked once the owner's columns are known
        if name not in valid:
            text = f"there is no column {name!r}; {did_you_mean(name, valid)}"
            problems.append(((*at, *path), text))
    for name in table.derive:
        field = (*at, "derive", name)
        try:
            _, roots = parse_expression(table.derive[name], field)
        except FieldError as error:
            problems += error.problems
            continue
        for root in sorted(roots.difference(valid)):
            problems.append((field, f"there is no column {root!r}; {did_you_mean(root, valid)}"))
    totals = [c.sum.total for c in table.constraints if c.sum is not None]
    for total in sorted({t for t in totals if t in table.derive or totals.count(t) > 1}):
        problems.append(
            ((*at, "constraints"), f"column {total!r} is derived in two ways; keep one")
        )
    if len(table.keys) == 1 and table.keys[0] in derived:
        problems.append(
            ((*at, "key"), f"the key {table.keys[0]!r} is made afresh, so it cannot be derived")
        )
    for name in sorted(table.references & derived.keys()):
        text = f"{name!r} holds a parent's key, so it cannot be derived; leave it out of `parents`"
        problems.append(((*at, "derive", name), text))
    if problems:
        raise FieldError(problems)
    derive_order(table, at)


def owner_column(name: str, columns: Collection[str], owner: ParentSpec | None) -> str | None:
    """The column of the owner that a rule means by `owner.column`; None for a table's own.

    columns: the table's own; one of that very name, dot included, comes first.
    """
    table, dot, column = name.partition(f"{owner.table}.") if owner else (name, "", "")
    return column if dot and not table and column and name not in columns else None


def check_roles(schema: TableSchema, table: TableSpec, at: FieldPath) -> None:
    """Raise FieldError where a rule between columns does not suit their kinds or roles."""
    problems: list[Problem] = []
    generated = {c.name for c in schema.columns if c.is_generated}
    derived = derived_columns(table)
    for name, sql in derived.items():
        field = (*at, "derive", name)
        roots = parse_expression(sql, field)[1]
        for root in sorted(roots & generated):
            text = (
                f"{root!r} is made afresh (a key, an id or pii), so nothing can be derived from it"
            )
            problems.append((field, text))
        if name in generated:
            problems.append(
                (field, f"{name!r} is a key, an id or pii; it is made afresh, not derived")
            )
    combined: set[str] = set()
    for index, constraint in enumerate(table.constraints):
        field = (*at, "constraints", index)
        own = [name for name in constraint.columns() if name in schema.names]
        for name in own:
            if name in generated:
                text = f"{name!r} is made afresh (a key, an id or pii), so no rule can bind it"
                problems.append((field, text))
        pair = constraint.less_equal or constraint.less_than
        kinds = [schema[name].kind for name in own]
        if pair and len(own) == 2:
            problems += [(field, text) for text in incomparable(pair, kinds)]
        if pair and not own:
            text = "both columns are the owner's; write the rule in the owner's table"
            problems.append((field, text))
        if constraint.sum and not set(kinds) <= {Kind.NUMBER, Kind.INTEGER}:
            problems.append((field, "a sum needs numbers only"))
        for name in constraint.fixed_combination or ():
            if name in combined or name in derived:
                text = (
                    f"{name!r} is derived or in another fixed_combination; leave it out of this one"
                )
                problems.append((field, text))
            combined.add(name)
    if table.order_by is not None and not schema[table.order_by].is_numeric:
        text = f"{table.order_by!r} ({schema[table.order_by].kind}) has no order in time or number"
        problems.append(((*at, "order_by"), f"{text}; name a date, a time or a number"))
    if table.target in generated:
        problems.append(
            ((*at, "target"), f"{table.target!r} is made afresh, so it cannot be predicted")
        )
    if problems:
        raise FieldError(problems)


def incomparable(pair: tuple[str, str], kinds: list[Kind]) -> list[str]:
    """Why two columns of these kinds cannot be compared; empty where they can."""
    if set(kinds) <= {Kind.NUMBER, Kind.INTEGER} or set(kinds) == {Kind.DATETIME}:
        return []
    text = f"{pair[0]!r} ({kinds[0]}) and {pair[1]!r} ({kinds[1]}) cannot be compared; both"
    return [f"{text} must be numbers, or both dates"]


def _named_columns(table: TableSpec) -> Iterator[tuple[FieldPath, str]]:
    """(field, column) for every plain mention of a column; expressions are parsed elsewhere."""
    for name in table.columns:
        yield ("columns", name), name
    for name in table.keys:
        yield ("key",), name
    for number, parent in enumerate(table.parents):
        for name in parent.columns:
            yield ("parents", number, "column"), name
    if table.order_by is not None:
        yield ("order_by",), table.order_by
    if table.target is not None:
        yield ("target",), table.target
    for index, constraint in enumerate(table.constraints):
        (rule,) = constraint.model_fields_set
        # A sum's total may be new; its parts must be there.
        names = constraint.sum.parts if constraint.sum is not None else constraint.columns()
        for name in names:
            yield ("constraints", index, rule), name
    for index, expectation in enumerate(table.expect):
        if expectation.rule.startswith("expect_table_"):
            continue  # these are about which columns there are
        for argument in _COLUMN_ARGUMENTS:
            value = expectation.arguments.get(argument)
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    yield ("expect", index, expectation.rule, argument), str(item)
