"""The last step of a run: its report. A report never fails a run; what it cannot show it says itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cai.pipeline.steps.step import Run
from cai.report.write import write_report
from cai.run.progress import Progress


async def step_report(run: Run) -> None:
    """Everything in the run folder → report.html."""
    if run.first:
        await asyncio.to_thread(tell, run.folder.path, run.progress)


def tell(path: Path, progress: Progress) -> None:
    """Write the report of the run at ``path``; what stands in its way is said, not raised."""
    try:
        report = write_report(path)
    except Exception as error:  # the model is trained and every figure is on disk: that must not be lost
        progress.say(f"report: not written ({error}); cai report {path} tries again")
        return
    for note in report.notes:
        progress.say(f"report: {note}")
