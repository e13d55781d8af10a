"""The Lance dataset and everything kept beside it: index files, vectors and metadata in memory, quarantine."""
