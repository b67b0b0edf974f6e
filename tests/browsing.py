"""What the tests in a real browser share: the browser, a watched profile, texts that try to be code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PATIENCE = (
    120_000  # ms that an event may take on a machine with other work; a test ends at once when it comes
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=PATIENCE)


def chromium() -> Iterator[Browser]:
    """The system's Chromium, or where it has none the one that "playwright install chromium" has fetched."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A new profile in which nothing may go wrong silently: no error, no dialog, no request to elsewhere.

    ``own``: what the addresses of the page's own requests start with. ``expected``: parts of the console's
    lines that belong to the test.
    """

    def __init__(self, browser: Browser, own: tuple[str, ...], expected: tuple[str, ...], **options: Any):
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.own, self.expected = own, expected
        self.wrong: list[str] = []
        self.context.on("page", self._watch)

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda line: self._console(line.type, line.text))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.wrong.append(f"console: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith(self.own):
            self.wrong.append(f"request: {url}")

    def __enter__(self) -> BrowserContext:
        return self.context

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert not self.wrong


#: Every text calls hit() where it comes to run.
XSS = [
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    "<svg onload=hit()>",
    "<svg><script>hit()</script></svg>",
    "<body onload=hit()>",
    "<iframe src=javascript:hit()></iframe>",
    "<iframe srcdoc='<script>parent.hit()</script>'></iframe>",
    "<a href=javascript:hit()>click</a>",
    "[click](javascript:hit())",
    "[click](JaVaScRiPt:hit())",
    "[click](&#106;avascript:hit())",
    "[click](data:text/html,<script>hit()</script>)",
    "[a](vbscript:hit() 'x')",
    "![x](x\"onerror=\"hit())",
    "![x](https://example.org/beacon.png)",
    "<javascript:hit()>",
    "<details open ontoggle=hit()>",
    "<input autofocus onfocus=hit()>",
    "<video><source onerror=hit()></video>",
    "<math><mtext></mtext><mglyph><svg><mtext><style><img src=x onerror=hit()>",
    "<object data=javascript:hit()></object>",
    "<embed src=javascript:hit()>",
    "<meta http-equiv=refresh content='0;url=javascript:hit()'>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<style>@import 'https://example.org/x.css'; * { background: url(https://example.org/x) }</style>",
    "<form action=javascript:hit()><button>go</button></form>",
    "\"><script>hit()</script>",
    "'-hit()-'",
    "```html\n</code></pre><script>hit()</script>\n```",
    "```\"onmouseover=\"hit()\nx\n```",
    "{{constructor.constructor('hit()')()}} ${hit()} <%= hit() %>",
    "</script><script>hit()</script><!--",
    "<scr\x00ipt>hit()</scr\x00ipt> \u202e<script>hit()</script>",
    "| <img src=x onerror=hit()> |\n|-|\n| <script>hit()</script> |",
    "<style>@import 'https://example.org/x.css'; * { display: none }</style>",
    "' onmouseover='hit()' x='",
    "\" onfocus=\"hit()\" autofocus x=\"",
    "<!--<script>hit()</script>",
    "</textarea></title></style></noscript><script>hit()</script>",
    "<noscript><p title=\"</noscript><img src=x onerror=hit()>\">",
    "{% raw %}{{ 7*7 }}{% endraw %} {{ policy }} {# hit() #}",
    "\u2028hit()\u2029</script\n><script>hit()</script>",
    "\\u003cscript\\u003ehit()\\u003c/script\\u003e",
    "]]><![CDATA[<svg onload=hit()>]]>",
]  # fmt: skip
