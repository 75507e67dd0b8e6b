"""Measure exported files: latency and memory, what changed since, and what is kept of it."""
