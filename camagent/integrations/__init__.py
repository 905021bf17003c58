"""Servers of other people that this agent speaks to. Each gets what it needs as arguments; the agent is not imported."""
