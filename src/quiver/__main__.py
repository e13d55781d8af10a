"""``python -m quiver`` is ``quiver``."""

from quiver.cli import main

if __name__ == "__main__":
    main()
