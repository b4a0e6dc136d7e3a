"""Folders that tools draw by parameters: which of them is there, and never half of one."""

import json
import tempfile
from pathlib import Path


def stays(folder, parameters_file, parameters, overwrite, flag):
    """Whether `folder`, which exists, holds what the `parameters` give, and is not to be redrawn.

    `parameters_file` in it tells what it was drawn with; `flag` chooses another place. Raises
    FileExistsError for a folder of other parameters without `overwrite`, and for one that was not
    drawn by this tool in any case.
    """
    try:
        present = json.loads((folder / parameters_file).read_text())
    except (OSError, ValueError):
        raise FileExistsError(
            f"{folder} was not drawn by this tool and is left alone: choose another {flag}"
        ) from None
    if present != parameters and not overwrite:
        raise FileExistsError(
            f"{folder} holds a set drawn with {present}, not {parameters}: "
            f"choose another {flag} or give --overwrite"
        )
    return not overwrite


def put_in_place(folder, draw, parameters_file, parameters):
    """Let `draw(path)` make a folder, and put it in the place of `folder` when it is complete.

    All is drawn in a temporary folder beside it, so that a stopped run leaves nothing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".drawn-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        draw(fresh)
        (fresh / parameters_file).write_text(json.dumps(parameters) + "\n")
        if folder.exists():
            folder.rename(Path(scratch) / "previous")
        fresh.rename(folder)
