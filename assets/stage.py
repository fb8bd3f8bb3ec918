"""What the seven assets share: how one is declared, how a result becomes Dagster's events."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from aigc_pipeline import __version__
from aigc_pipeline.errors import AigcError, ArtefactError, GateRefused, InputError
from aigc_pipeline.lake import STAGES
from aigc_pipeline.spec import DatasetSpec
from aigc_pipeline.stages import STAGE_CHECKS, Check, StageResult
from assets.metadata import result_metadata
from resources import Reporter

if TYPE_CHECKING:
    from aigc_pipeline.generators.training import Progress

MOST = 2**63 - 1  # of a number in a run's config: what torch, Polars and Parquet hold
# Network and disk hiccups pass; reading a source and publishing are worth another try.
IO_RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)
# What no second try puts right, though it comes as an OSError.
_PERMANENT = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG}
_PERMANENT_TYPES = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
# The error that a failed critical check stands for (it decides the command's exit code), and what
# it means for the user.
_CHECK_ERRORS: dict[str, tuple[type[AigcError], str]] = {
    "contract": (InputError, "the source breaks its contract, so nothing was learned from it"),
    "gates": (GateRefused, "a gate was missed, so nothing was released; the last release stays"),
}
# What Dagster takes for an owner, besides `team:name`.
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")

Events = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


def stage_asset(
    spec: DatasetSpec,
    stage: str,
    *,
    kinds: set[str],
    pool: str | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    also: Callable[[dg.AssetSpec], list[dg.AssetSpec]] = lambda _: [],
) -> Callable[[Callable[..., Events]], dg.AssetsDefinition]:
    """A decorator that makes the asset `[dataset, stage]`: the link after the stage before it.

    The function's docstring is the asset's description; the dataset's own follows it.

    also: given the stage's own asset, those that the same step makes besides.
    """
    position = STAGES.index(stage)

    def decorate(function: Callable[..., Events]) -> dg.AssetsDefinition:
        own = dg.AssetSpec(
            key=[spec.name, stage],
            deps=[[spec.name, STAGES[position - 1]]] if position else [],
            group_name=spec.name,
            description=_description(spec, function.__doc__ or ""),
            owners=[o for o in spec.owners if _EMAIL.fullmatch(o) or re.fullmatch("team:.+", o)],
            tags=_tags(spec),
            kinds=kinds,
            # An edited dataset file makes its assets stale, as new code does.
            code_version=f"{__version__}-{spec.sha256()[:8]}",
        )
        return dg.multi_asset(
            name=f"{spec.name}__{stage}",
            specs=[own, *also(own)],
            check_specs=_check_specs(spec, stage),
            pool=pool,
            retry_policy=retry_policy,
        )(function)

    return decorate


def run_stage(
    context: dg.AssetExecutionContext,
    reporter: Reporter,
    spec: DatasetSpec,
    call: Callable[[Progress], StageResult],
    *,
    also: Callable[[StageResult], Iterator[dg.MaterializeResult]] = lambda _: iter(()),
) -> Events:
    """Run one library call and yield what it made: the materialisation and its checks.

    also: of a version that was written, the other assets it made.

    Raises dg.Failure when the call fails or a critical check does, so that nothing downstream runs.
    A version that was written before (the evidence of a missed gate) is still recorded.
    """
    stage = next(key.path[1] for key in context.selected_asset_keys if len(key.path) == 2)
    progress = reporter.started(stage, context.log)
    try:
        result = call(progress)
    except AigcError as error:
        raise dg.Failure(str(error), allow_retries=False) from _alone(error)
    except OSError as error:
        permanent = isinstance(error, _PERMANENT_TYPES) or error.errno in _PERMANENT
        message = f"{type(error).__name__}: {error}"
        raise dg.Failure(message, allow_retries=not permanent) from _alone(error)
    except Exception as error:
        if os.environ.get("AIGC_DEBUG"):
            raise
        raise _without_message(error) from None
    reporter.finished(stage, result)

    checks = [_check_result(check) for check in result.checks]
    if result.version is None:
        yield from checks
    else:
        yield dg.MaterializeResult(
            asset_key=[spec.name, stage],
            metadata=result_metadata(spec, stage, result),
            check_results=checks,
            # The part of the id that is a hash of the contents: same bytes, same version.
            data_version=dg.DataVersion(result.version.id.rpartition("-")[2]),
        )
        yield from also(result)
    failed = [c for c in result.checks if not c.passed and c.severity == "critical"]
    if failed:
        kind, remark = _CHECK_ERRORS.get(failed[0].name, (ArtefactError, "nothing was released"))
        lines = [f"{check.name}: {check.message}" for check in failed]
        message = "\n".join([f"{spec.name}: {remark}", *lines])
        raise dg.Failure(message, allow_retries=False) from kind(message)


def _alone(error: Exception) -> Exception:
    """An error without the one behind it, whose message may quote rows of the real table."""
    if not os.environ.get("AIGC_DEBUG"):
        error.__cause__, error.__context__ = None, None
    return error


def _without_message(error: Exception) -> dg.Failure:
    """An unforeseen error by its type and place: its message may quote rows of the real table."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"
    failure = dg.Failure(
        f"unexpected {type(error).__name__} in {place}; its message may quote real values"
        " and is kept out of the log: AIGC_DEBUG=1 shows it",
        allow_retries=False,
    )
    return failure.with_traceback(error.__traceback__)


def _tags(spec: DatasetSpec) -> dict[str, str]:
    """The dataset's domain and tags, in the letters that Dagster takes."""

    def plain(text: str) -> str:
        return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)[:63].strip("_")

    tags = {plain(tag): "" for tag in spec.tags}
    domain = {"domain": plain(spec.domain)} if spec.domain else {}
    return {tag: value for tag, value in (tags | domain).items() if tag}


def _check_specs(spec: DatasetSpec, stage: str) -> list[dg.AssetCheckSpec]:
    """A stage's checks; a critical one blocks what comes after."""
    return [
        dg.AssetCheckSpec(name, asset=[spec.name, stage], blocking=severity == "critical")
        for name, severity in STAGE_CHECKS[stage]
    ]


def _check_result(check: Check) -> dg.AssetCheckResult:
    critical = check.severity == "critical"
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN,
        description=check.message,
        metadata=dict[str, Any](check.metadata),
    )


def _description(spec: DatasetSpec, doc: str) -> str:
    """The stage's docstring, then what the dataset file says of the dataset."""
    title, about = _plain(spec.title or spec.name), _plain(spec.description or "")
    lines = [re.sub(r"\s+", " ", doc).strip(), f"**{title}**", about]
    return "\n\n".join(line for line in lines if line)


def _plain(text: str) -> str:
    """A text that holds no HTML, link or picture, where Dagster shows it as Markdown.

    It also shows it as it is, so nothing more is escaped than must be.
    """
    return re.sub(r"([\\<\[])", r"\\\1", text)
