"""``quiver bench caption``: captions of a data set's media, measured against its sentences.

References are the sentences that a task asks with, or finds; so every data set with a text track is one for captions.
"""

from quiver.benchmarks.captioning.page import write as write_page
from quiver.benchmarks.captioning.run import Options, Report, measure
from quiver.benchmarks.captioning.table import remarks, table, write_json, write_markdown

__all__ = ["Options", "Report", "measure", "remarks", "table", "write_json", "write_markdown", "write_page"]
