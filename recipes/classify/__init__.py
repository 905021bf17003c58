"""A classifier by transfer: nine kinds of waste first, then two others from few pictures. Start with README.md, then cli.py."""
