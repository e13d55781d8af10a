"""mteb both ways: its tasks on Quiver's encoders, rerankers and whole engine, and Quiver's data sets as its tasks.

``QuiverEncoder``, ``QuiverReranker`` and ``QuiverSearch`` meet the protocols of mteb 2.26 (``EncoderProtocol``,
``CrossEncoderProtocol``, ``SearchProtocol``); ``as_task`` makes a task of one of Quiver's data sets. mteb is an extra
(``pip install 'quiver-search[mteb]'``) and slow to import, so nothing here is imported before a command needs it.
"""

from quiver.benchmarks.mteb.encoder import QuiverEncoder
from quiver.benchmarks.mteb.export import as_task
from quiver.benchmarks.mteb.reranker import QuiverReranker
from quiver.benchmarks.mteb.run import Run, evaluate, table
from quiver.benchmarks.mteb.search import QuiverSearch

__all__ = ["QuiverEncoder", "QuiverReranker", "QuiverSearch", "Run", "as_task", "evaluate", "table"]
