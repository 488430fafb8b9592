"""What a stage shows in Prefect's UI. Outside a run of Prefect's there is nobody to show it to."""

import base64
import logging
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import TaskRunContext

_log = logging.getLogger(__name__)


def show_table(key: str, head: Sequence[str], rows: Sequence[Sequence[str]], description: str) -> None:
    """A table on the page of the run. key: a-z, 0-9 and hyphens."""
    if TaskRunContext.get() is not None:
        create_table_artifact(key=key, table=[dict(zip(head, row, strict=True)) for row in rows], description=description)


def show_picture(key: str, picture: Path, description: str) -> None:
    """A PNG on the page of the run, in the artifact itself: no server has to have it. One that cannot be shown is no failure.

    As Markdown: Prefect writes the whole address of what it calls an image below it, and here that is the picture.
    """
    if TaskRunContext.get() is None:
        return
    try:
        url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
        create_markdown_artifact(key=key, markdown=f"![{description}]({url})", description=description)
    except Exception as error:  # whatever Prefect's client meets: the picture lies in the store too
        _log.warning("%s does not show in Prefect (%s)", picture.name, error)
