"""``python -m quiver.engine.cli``, the name of ``python -m quiver`` up to version 0.1, still works."""

import runpy

if __name__ == "__main__":
    runpy.run_module("quiver", run_name="__main__", alter_sys=True)
