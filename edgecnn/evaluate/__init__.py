"""Run a file or a network over samples once: scores by its task, and how close it is to the original."""
