"""Indexes behind one contract: exact (the default and the oracle), faiss, lance."""
