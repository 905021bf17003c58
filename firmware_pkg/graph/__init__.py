"""Rewriting ONNX graphs on the workstation: passes that prove themselves. Needs the extra `build`, except for the registry."""

from firmware_pkg.graph.registry import PASSES, PassPlace, Wishes

__all__ = ["PASSES", "PassPlace", "Wishes"]
