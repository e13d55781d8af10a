"""Comparisons of models that are trained and measured under the same conditions."""
