"""Every block of every page, played: `pages.py` says how, `test_blocks.py` does it and fails where nobody has said it."""
