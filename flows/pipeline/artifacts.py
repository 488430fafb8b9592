"""What a stage shows in Prefect's UI. Outside a run of Prefect's there is nobody to show it to."""

from collections.abc import Sequence

from prefect.artifacts import create_table_artifact
from prefect.context import TaskRunContext


def show_table(key: str, head: Sequence[str], rows: Sequence[Sequence[str]], description: str) -> None:
    """A table on the page of the run. key: a-z, 0-9 and hyphens."""
    if TaskRunContext.get() is not None:
        create_table_artifact(key=key, table=[dict(zip(head, row, strict=True)) for row in rows], description=description)
