"""The engine: collections on disk, ingest, the graph of spaces, plans and their execution, the command line."""
