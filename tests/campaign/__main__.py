"""Campaigns with figures, as in ``PYTHONPATH=tests python -m campaign kills``; ``make test`` runs small forms."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from campaign import damage, disk, kills, load, media, writers


def _damage(folder, given):
    counts, faults = damage.run(folder, given.count, given.seed)
    return {**counts, "faults": faults}


#: What each does with a folder and the arguments, its usual count, and what is counted.
CAMPAIGNS = {
    "kills": (lambda folder, given: kills.run(folder, given.count, given.seed), 1000, "kills"),
    "writers": (lambda folder, given: writers.run(folder, given.count), 50, "changes of each of six writers"),
    "damage": (_damage, 5, "times that every file is damaged in each way"),
    "disk": (lambda folder, given: disk.run(folder), 1, "is not used"),
    "media": (lambda folder, given: media.run(folder, given.count, given.seed), 10_000, "mutated files"),
    "load": (lambda folder, given: load.run(folder, given.count), 3600, "seconds"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    told = "; ".join(f"{name}: {each[2]}, {each[1]:,}" for name, each in CAMPAIGNS.items())
    parser.add_argument("campaign", choices=[*CAMPAIGNS])
    parser.add_argument("--count", type=int, help=f"how much; what it means and how much by default: {told}")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    run, usual, _ = CAMPAIGNS[given.campaign]
    given.count = usual if given.count is None else given.count
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = run(Path(folder), given)
    seconds = round(time.perf_counter() - started, 1)
    print(
        json.dumps({"campaign": given.campaign, "count": given.count, "seed": given.seed, **found, "seconds": seconds})
    )


if __name__ == "__main__":
    main()
