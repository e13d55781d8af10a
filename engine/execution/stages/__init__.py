"""Stages, one file each: a frozen dataclass with one ``run``. A plan is a sequence of them.

A stage takes ranked lists from the ``Context`` it is given and puts ranked lists back. It never invents a row, keeps
lists best first, and passes empty lists on as empty lists.
"""
