"""`python -m genloom`."""

from genloom.cli import main

main()
