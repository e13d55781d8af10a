"""Stages, one frozen dataclass with one ``run`` each; a plan is a sequence of them.

A stage takes ranked lists from the run it is given and puts ranked lists back. It never invents a row, keeps lists
best first, and passes empty lists on as empty lists.
"""
