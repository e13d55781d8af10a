"""The HTTP service: collections by name, as JSON, with keys, limits and batches; ``quiver serve`` runs it.

Nothing else in Quiver imports it. ``app`` puts the parts together; each file of ``resources`` is one resource.
"""
