"""``quiver default``: choose the space that searches use."""

from typing import Annotated

import typer


def default(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    key: Annotated[str, typer.Argument(help="Medium: text, image, audio, video or pair.")],
    space: Annotated[str, typer.Argument(help="Name of the space, as `quiver info` shows it.")],
) -> None:
    """Choose the space that searches for a medium use if they name none. At first it is that of the first encoder."""
    import quiver

    quiver.open(collection).default(key, space)
    print(f"searches for {key} use {space}")
