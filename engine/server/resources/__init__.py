"""The resources of the service: one file each, with a ``router`` that ``app`` mounts."""
