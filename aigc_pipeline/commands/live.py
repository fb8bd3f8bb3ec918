"""The display of a run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from aigc_pipeline.commands import show
from aigc_pipeline.lake import STAGES

if TYPE_CHECKING:
    from aigc_pipeline.generators.training import Progress
    from aigc_pipeline.stages import StageResult

LINE_SECONDS = 10.0  # between two progress lines of one stage, where there are no bars


class Display(AbstractContextManager["Display"]):
    """What a run's stages report to; keeps their results and seconds. Prints plain lines."""

    def __init__(self) -> None:
        self.results: dict[str, StageResult] = {}
        self.seconds: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def __exit__(self, *exception: Any) -> None:
        running = [stage for stage in self._began if stage not in self.results]
        if running and exception[0] is not None:
            self.seconds[running[-1]] = time.monotonic() - self._began[running[-1]]
            self._show_end(running[-1], "failed")

    def started(self, stage: str, log: Any) -> Progress:
        """A stage begins; `log` is Dagster's, which this display stands in for."""
        self._began[stage] = time.monotonic()
        self._show_start(stage)

        def progress(message: str, done: float | None) -> None:
            self._show_progress(stage, message, done)

        return progress

    def finished(self, stage: str, result: StageResult) -> None:
        """A stage returned; a failed critical check is shown as its end."""
        self.results[stage] = result
        self.seconds[stage] = time.monotonic() - self._began[stage]
        failed = [c.name for c in result.checks if not c.passed and c.severity == "critical"]
        warned = [c for c in result.checks if not c.passed and c.severity != "critical"]
        self._show_end(
            stage, f"refused: {', '.join(failed)}" if failed else _summary(stage, result)
        )
        for check in warned:
            self._show_line(f"{'':<11} warning: {check.message}")

    def _show_start(self, stage: str) -> None:
        self._last_line = time.monotonic()

    def _show_progress(self, stage: str, message: str, done: float | None) -> None:
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            share = "" if done is None else f" ({done:.0%})"
            self._show_line(f"{stage:<11} … {message}{share}")

    def _show_end(self, stage: str, summary: str) -> None:
        self._show_line(f"{stage:<11} {self.seconds[stage]:6.1f} s  {summary}")

    def _show_line(self, line: str) -> None:
        show.note(line)


class LiveDisplay(Display):
    """All stages at a glance on a terminal: a bar, the time and the latest message of each."""

    def __init__(self) -> None:
        super().__init__()
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
        from rich.text import Text

        class Bar(BarColumn):
            """A bar; none before the stage starts."""

            def render(self, task: Any) -> Any:
                return super().render(task) if task.started else Text("")

        class Seconds(ProgressColumn):
            """How long a stage has run; empty before it starts."""

            def render(self, task: Any) -> Text:
                return Text("" if task.elapsed is None else f"{task.elapsed:6.1f} s")

        self._bars = Progress(
            TextColumn("{task.fields[mark]} {task.description:<10}", markup=False),
            Bar(bar_width=24),
            Seconds(),
            TextColumn("{task.fields[message]}", markup=False),
            console=show.console(sys.stderr),
        )
        self._tasks = {
            stage: self._bars.add_task(stage, start=False, total=1.0, mark=" ", message="")
            for stage in STAGES
        }

    def __enter__(self) -> LiveDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._bars.stop()

    def _show_start(self, stage: str) -> None:
        task = self._tasks[stage]
        self._bars.start_task(task)
        self._bars.update(task, total=None, mark="▸")  # a moving bar until a share is known

    def _show_progress(self, stage: str, message: str, done: float | None) -> None:
        task = self._tasks[stage]
        if done is not None:
            self._bars.update(task, total=1.0, completed=done)
        self._bars.update(task, message=message)

    def _show_end(self, stage: str, summary: str) -> None:
        task = self._tasks[stage]
        stopped = summary == "failed" or summary.startswith("refused")
        self._bars.update(task, total=1.0, mark="✗" if stopped else "✓", message=summary)
        if not stopped:
            self._bars.update(task, completed=1.0)
        self._bars.stop_task(task)

    def _show_line(self, line: str) -> None:
        self._bars.console.print(line, soft_wrap=True)


def make_display() -> Display:
    """Bars when stderr is a terminal, lines otherwise."""
    return LiveDisplay() if sys.stderr.isatty() else Display()


@contextmanager
def bar(label: str) -> Iterator[Progress]:
    """The progress of one piece of work: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(message: str, done: float | None) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                show.note(f"{label} … {message}{'' if done is None else f' ({done:.0%})'}")

        yield line
        return
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}", markup=False), rich.BarColumn(bar_width=24))
    seen = rich.TextColumn("{task.fields[message]}", markup=False)
    console = show.console(sys.stderr)
    with rich.Progress(*columns, rich.TimeElapsedColumn(), seen, console=console) as bars:
        task = bars.add_task(label, total=None, message="")

        def advance(message: str, done: float | None) -> None:
            if done is not None:
                bars.update(task, total=1.0, completed=done)
            bars.update(task, message=message)

        yield advance
        bars.update(task, total=1.0, completed=1.0)


def _summary(stage: str, result: StageResult) -> str:
    """What a stage made, in a few words."""
    told = result.metadata
    if stage == "features":
        return f"{sum(size['learned_columns'] for size in told['sizes'].values())} columns to learn"
    if stage == "model":
        spent = told.get("dp", {})
        return "; ".join(
            f"{loss['steps']:,} steps"
            + (f", held-out loss {loss['held_out_loss']:.4g}" if loss["held_out_loss"] else "")
            + (f", epsilon {spent[table]['epsilon']:.3g}" if table in spent else "")
            for table, loss in told["losses"].items()
        )
    if stage == "evaluation":
        return "; ".join(check.message for check in result.checks)
    rows = sum(told["rows"].values())
    return f"{rows:,} rows"
