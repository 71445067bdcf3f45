"""Published files, which are downloaded if they are missing."""

import os
from pathlib import Path


def fetch(path: Path, instead: str, url: str | None = None, md5: str | None = None) -> None:
    """Download a file if it is missing; if that fails, ``FileNotFoundError`` says what to do instead.

    Without a URL it cannot be downloaded. If an MD5 checksum is given, the download must have it.
    """
    if path.exists():
        return
    from torchvision.datasets.utils import download_url  # slow to import

    problem = f"there is no {path}"
    if url:
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")  # other processes may download it, too
        unfinished.unlink(missing_ok=True)  # half a download would pass for the whole
        try:
            download_url(url, path.parent, unfinished.name, md5)
            unfinished.replace(path)
            return
        except (OSError, RuntimeError) as error:
            problem += f", and {url} cannot be downloaded ({error})"
    raise FileNotFoundError(
        f"{problem}. {instead}, or name the folder that holds {path.parent.name}/ by the root argument or the "
        "environment variable LABELREG_DATA (see data/README.md)."
    )


def check(path: Path, md5: str | None) -> None:
    """Check the MD5 checksum of a file, if it is known."""
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(path, md5):
        raise ValueError(f"{path} is not the published file: its MD5 checksum must be {md5}; remove it or replace it")
