"""Pictures as grids of patches: their features from a CNN or their bare pixels, in memory and in files."""
