"""The last step of a run: its report. A report never fails a run; what it cannot show it says itself."""

from __future__ import annotations

import asyncio

from cai.report.build import write_report
from cai.steps.run import Run


async def step_report(run: Run) -> None:
    """Everything in the run folder → report.html."""
    if not run.first:
        return
    try:
        report = await asyncio.to_thread(write_report, run.folder.path)
    except Exception as error:  # the model is trained and every figure is on disk: that must not be lost
        run.progress.say(f"report: not written ({error}); cai report {run.folder.path} tries again")
        return
    for note in report.notes:
        run.progress.say(f"report: {note}")
