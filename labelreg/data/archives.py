"""Read files from a folder or, without unpacking, from a tar or zip archive."""

import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """The files of an archive or a folder; names are relative paths, in the order in which they are read fastest."""

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]

    def text(self, name: str) -> list[str]:
        """Return the lines of a UTF-8 text file that are not empty."""
        if name not in self.names:
            raise ValueError(f"{self.path} lacks {name}")
        try:
            return [line for line in self.read(name).decode().splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} in {self.path} is not UTF-8 text: {error}") from error


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """Open a folder, a tar (compressed or not) or zip archive, or a single file; damage raises ``ValueError``."""
    with ExitStack() as stack:
        with _damage_named(path):
            names, read = _open(path, stack)

        def read_whole(name: str) -> bytes:
            with _damage_named(path):
                return read(name)

        yield Files(path, tuple(names), read_whole)


def _open(path: Path, stack: ExitStack) -> tuple[Iterable[str], Callable[[str], bytes]]:
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return names, lambda name: (path / name).read_bytes()
    if path.suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(path))
        return [name for name in archive.namelist() if not name.endswith("/")], archive.read
    if path.suffix in (".tar", ".tgz"):
        archive = stack.enter_context(tarfile.TarFile.open(path))
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        return members, lambda name: archive.extractfile(members[name]).read()
    return [path.name], lambda name: path.read_bytes()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damage may raise anything
        raise ValueError(f"{path} is damaged or cut short ({error}): put a whole copy in its place") from error
