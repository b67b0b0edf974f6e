#!/usr/bin/env bash
# A Chromium for the tests of the voting page: the system's, else Debian's package, else Playwright's own.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    command -v "$name" > /dev/null && exit 0
done
if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing chromium (Debian's package)"
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null; }
    install 2> /dev/null || { apt-get update -qq && install; }
else
    playwright install chromium
fi
