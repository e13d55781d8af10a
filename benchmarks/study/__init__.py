"""Comparisons of models, trained and measured side by side."""
