"""A newer version is seen at once, whether the folder of versions is looked at or listed."""

import os

import numpy as np
import pytest

import quiver
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.version_watch import Watch


@pytest.fixture
def table(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    quiver.open(tmp_path / "c").add_vectors(tmp_path / "v.npy", space="made")
    return Table(str(tmp_path / "c" / "items.lance"))


def test_every_commit_is_seen_however_fast_they_follow(table):
    other, writer = Table(table.uri), Table(table.uri)
    for n in range(4):
        other.refresh()
        other.refresh()
        assert other._newest is not None and other.version == writer.version
        writer.delete(f"id = 'v#{n}'")
        assert writer.version > other.version
    other.refresh()
    assert other.version == writer.version


def test_a_quiet_table_is_not_listed_again(table):
    table.refresh()
    known = table._newest
    assert known is not None and table._watch.look(table.version) == known
    table.refresh()
    assert table._newest is known


def test_a_successor_that_came_and_went_is_noticed_by_the_time_of_the_folder(table):
    watch, version = Watch(table.uri), table.version
    before = watch.look(version)
    name = os.path.join(table.uri, "_versions", f"{(1 << 64) - 2 - version:020}.manifest")
    open(name, "w").close()
    assert watch.look(version) is None
    os.remove(name)
    os.utime(os.path.dirname(name), ns=(1, before.changed + 1))  # as time passes
    assert watch.look(version) not in (None, before)


def test_what_is_not_on_this_machine_is_listed(table):
    assert Watch("s3://bucket/items.lance").look(1) is None and not Watch("s3://bucket/items.lance").named(1)
    assert Watch(f"{table.uri}/nowhere").look(1) is None
    assert Watch(table.uri).named(table.version) and not Watch(table.uri).named(table.version + 1)
