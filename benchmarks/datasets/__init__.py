"""Datasets, one file each, in their official formats."""
