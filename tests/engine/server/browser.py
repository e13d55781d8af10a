"""Chromium for tests: looked for on the path, or where QUIVER_CHROMIUM says; nothing is downloaded."""

import os
import shutil

CHROMIUM = os.environ.get("QUIVER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
#: A process of root has no sandbox; nothing is looked up elsewhere; a microphone that plays a tone.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
