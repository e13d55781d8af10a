"""Choosing, building, measuring and maintaining indexes; learning weights of scorers."""
