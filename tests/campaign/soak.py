"""The long form of the model test: ``make soak``, or with PYTHONPATH=tests ``python -m campaign.soak --minutes 5``."""

import argparse
import tempfile
import time
from pathlib import Path

from campaign.operations import Campaign


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--steps", type=int, default=120, help="steps of each run; then a new seed")
    parser.add_argument("--verbose", action="store_true", help="print every operation")
    given = parser.parse_args()
    until, seed, steps, kills = time.monotonic() + 60 * given.minutes, given.seed, 0, 0
    while time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder:
            print(f"seed {seed}", flush=True)
            campaign = Campaign(Path(folder), seed, log=print if given.verbose else None)
            for n in range(given.steps):
                campaign.step()
                if n % 10 == 9:
                    campaign.crash()
                    kills += 1
                if time.monotonic() > until:
                    break
            campaign.everything()
            steps += campaign.steps
        seed += 1
    print(f"{steps} steps, {kills} kills, {seed - given.seed} seeds: every answer as the oracle's")


if __name__ == "__main__":
    main()
