"""`python -m camagent` is the `camagent` command."""

from camagent.cli import main

main()
