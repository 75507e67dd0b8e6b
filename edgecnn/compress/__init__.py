"""Make a network smaller and keep its accuracy."""
