"""docs/servers.md says what comes of every kind of server, and no label is wrong."""

from __future__ import annotations

from server_stubs import providers

from benchmarks.conformance import BEGIN, END, PAGE, QUALITIES, outcome


async def test_the_page_is_up_to_date_and_no_label_is_wrong() -> None:
    rows = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].splitlines()[2:]
    kinds = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1:4] for row in rows}
    found = [await outcome(provider) for provider in providers()]
    assert len(found) >= 15
    assert [one.name for one in found if one.wrong] == []
    assert [one.name for one in found if not one.critic.startswith("works")] == []
    assert [one.name for one in found if one.labels < len(QUALITIES) and not one.reason] == []
    shown = {one.name: [*one.row.split(" | ")[1:4]] for one in found}
    assert shown == kinds, "python -m benchmarks.conformance --write"
