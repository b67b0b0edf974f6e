"""``python -m cai`` is ``cai``."""

from cai.cli.app import main

main()
