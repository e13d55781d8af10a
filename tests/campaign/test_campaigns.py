"""Random operations from fixed seeds against an oracle of dicts and NumPy; ``make soak`` is the long form."""

import os

import pytest
from campaign import kills, media, writers
from campaign.operations import Campaign


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_collection_answers_as_its_oracle_whatever_is_done_to_it(tmp_path, seed):
    log = []
    campaign = Campaign(tmp_path, seed, log=log.append)
    try:
        for n in range(30):
            campaign.step()
            if n == 15:
                campaign.crash()
        campaign.everything()
    except BaseException:
        print("\n".join(log[-40:]))
        raise


def test_killed_amid_any_write_a_collection_keeps_what_was_acknowledged(tmp_path):
    counts = kills.run(tmp_path, int(os.environ.get("QUIVER_KILLS", "3")), seed=1)
    assert sum(counts.values()) >= 3


def test_six_writers_of_the_same_ids_leave_each_id_once_with_all_that_was_written(tmp_path):
    assert writers.run(tmp_path, 2)["changes"] == 12


def test_mutated_media_files_end_no_run(tmp_path):
    counts = media.run(tmp_path, 52, seed=1)
    assert counts["embedded"] and counts["quarantined"]
    assert counts["embedded"] + counts["quarantined"] == counts["files"] == 52
