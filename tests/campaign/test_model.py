"""Random operations from fixed seeds against an oracle of dicts and NumPy; ``make soak`` is the long form."""

import os

import pytest
from campaign import kills
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
