"""The shipped model: LinkNet with a detection branch, trained on drawn road scenes. Start with README.md, then cli.py."""
