"""The small application's work with files: processes them, sweeps old ones away, watches an inbox."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SECONDS_A_DAY = 24 * 60 * 60

Place = str | os.PathLike[str]


class FileProcessor:
    """Writes each line of a file to another, as processed."""

    def process_file(self, source: Place, target: Place) -> int:
        """Return how many lines there were."""
        count = 0
        with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as output:
            for line in lines:
                output.write(f"PROCESSED: {line}")
                count += 1
        return count


class FileManager:
    """Keeps a directory small."""

    def cleanup_old_files(self, directory: Place, days_old: float) -> list[str]:
        """Delete files that were changed so many days ago or before, and folders that are empty then; return the files' names."""
        oldest = time.time() - days_old * SECONDS_A_DAY
        gone = []
        for folder, _, names in os.walk(directory, topdown=False):
            for name in names:
                path = Path(folder, name)
                if path.lstat().st_mtime <= oldest:
                    path.unlink()
                    gone.append(path.relative_to(directory).as_posix())
            if not os.path.samefile(folder, directory) and not os.listdir(folder):
                os.rmdir(folder)
        return sorted(gone)


class Inbox(threading.Thread):
    """Processes what is put into a folder, until it is told to stop; what cannot be processed is put aside."""

    def __init__(self, inbox: Path, outbox: Path, aside: Path) -> None:
        super().__init__(daemon=True)
        self._inbox, self._outbox, self._aside = inbox, outbox, aside
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.005):
            for path in sorted(self._inbox.glob("*.txt")):
                self._take(path)

    def _take(self, path: Path) -> None:
        unfinished = self._outbox / f".{path.name}"
        try:
            FileProcessor().process_file(path, unfinished)
        except UnicodeDecodeError:
            unfinished.unlink(missing_ok=True)
            path.rename(self._aside / path.name)
        else:
            unfinished.rename(self._outbox / path.name)
            path.unlink()

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)


class Archive:
    """Puts the day's files into a folder of that day, to which a link leads."""

    def store(self, directory: Path, archive: Path, day: str) -> None:
        folder = archive / day
        folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(path for path in directory.iterdir() if path.is_file())
        for path in paths:
            path.rename(folder / path.name)
        total = sum((folder / path.name).stat().st_size for path in paths)
        (folder / "MANIFEST").write_text(
            "".join(f"{path.name}\n" for path in paths) + f"{total} bytes on {day} in {folder}\n", encoding="utf-8"
        )
        latest = archive / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(day)
