"""Stands in for Rockchip's package on machines without an NPU: see api/__init__.py."""
