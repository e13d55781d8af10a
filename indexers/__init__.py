"""Indexes with one interface: exact (the default and the reference), faiss, lance."""
