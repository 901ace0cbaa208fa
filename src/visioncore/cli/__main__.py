"""`python -m visioncore.cli`."""

from visioncore.cli import main

main()
