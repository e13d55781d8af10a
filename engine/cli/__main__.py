"""``python -m quiver.engine.cli`` is ``quiver``."""

from quiver.engine.cli import main

main()
