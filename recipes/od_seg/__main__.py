"""`python -m recipes.od_seg`."""

from recipes.od_seg.cli import main

main()
