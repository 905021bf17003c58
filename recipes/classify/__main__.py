"""`python -m recipes.classify`."""

from recipes.classify.cli import main

main()
