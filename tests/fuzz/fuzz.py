"""Fuzzing of every format, in processes that are used again and again.

    python tests/fuzz/fuzz.py N [--format NAME] [--seed S] [--workers N] [--keep FOLDER]

N inputs for each format. A failure is shrunk and kept in FOLDER: the input, and beside it what happened.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

HERE = Path(__file__).resolve().parent
PATIENCE = 120  # seconds on the clock, for what waits without working; work has a limit of its own
STARTING = 600  # and with the first input of a format, whose voices are made
SHRINKINGS = 200
NAMES = ("torch-zip", "torch-legacy", "pickle", "torch-model", "safetensors", "config", "api", "audio", "metadata")
NAMES += ("lexicon", "prepared", "run", "text")


class Worker:
    """A process that is started again when an input has ended it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.path = folder / "input" / "file"
        self.complaints = (folder / "complaints").open("w+")
        self.process: subprocess.Popen[str] | None = None
        self.known: set[str] = set()

    def ask(self, form: str, **what: object) -> dict[str, str]:
        """What came of one input."""
        if self.process is None:
            paths = os.pathsep.join((str(HERE.parents[1]), str(HERE.parent)))
            environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.complaints,
                text=True,
                env=environment,
            )
            self.known = set()
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"format": form, "path": str(self.path), **what}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE if form in self.known else STARTING)
        line = process.stdout.readline() if ready else ""
        if line:
            self.known.add(form)
            return dict(json.loads(line))
        try:
            code = process.wait(5) if ready else 0
        except subprocess.TimeoutExpired:
            code = 0
        process.kill()
        code = code or process.wait()
        self.process = None
        if not ready:
            return {"outcome": "failed", "reason": "it waits for ever", "kind": "hang"}
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        self.complaints.seek(0)
        last = (self.complaints.read().splitlines() or [""])[-1]
        reason = "more than ten seconds of work" if code == -signal.SIGXCPU else f"the process ended: {name} {last}"
        return {"outcome": "failed", "reason": reason, "kind": name}

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.complaints.close()


@dataclass
class Result:
    """How many inputs were read, refused and failed, of each format, and one description of each kind of failure."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


def fuzz(
    count: int, formats: tuple[str, ...] = NAMES, seed: int = 0, workers: int = 1, keep: Path | None = None
) -> Result:
    """`count` inputs for each format."""
    result, lock = Result({form: Counter() for form in formats}), threading.Lock()
    work: SimpleQueue[tuple[str, range]] = SimpleQueue()
    for form in formats:
        share = -(-count // workers)
        for start in range(0, count, share):
            work.put((form, range(start, min(start + share, count))))

    def serve(folder: Path) -> None:
        worker = Worker(folder)
        try:
            while True:
                form, numbers = work.get_nowait()
                for number in numbers:
                    found = worker.ask(form, seed=seed, number=number)
                    with lock:
                        result.counts[form][found["outcome"]] += 1
                        new = found["outcome"] == "failed" and (form, found["kind"]) not in result.failures
                        if new:
                            print(f"{form} {seed}/{number}: {found['reason']}", file=sys.stderr, flush=True)
                            result.failures[form, found["kind"]] = f"{form} {seed}/{number}: {found['reason']}"
                    if new and keep is not None and worker.path.exists():
                        keep_failure(worker, form, number, found, keep)
        except Empty:
            pass
        finally:
            worker.stop()

    with tempfile.TemporaryDirectory(prefix="bitjets-fuzz-") as folder:
        threads = [threading.Thread(target=serve, args=(Path(folder) / str(index),)) for index in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return result


def keep_failure(worker: Worker, form: str, number: int, found: dict[str, str], folder: Path) -> None:
    """The input as small as it gets, and what happened."""
    data = shrunk(worker, form, worker.path.read_bytes(), found["kind"])
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{form}-{number}"
    (folder / name).write_bytes(data)
    (folder / f"{name}.txt").write_text(f"{found['reason']}\n\n{found.get('trace', '')}")


def shrunk(worker: Worker, form: str, data: bytes, kind: str) -> bytes:
    """Pieces are taken out, large ones first, as long as it fails in the same way."""
    left = 5 if kind.startswith(("SIG", "hang", "memory")) else SHRINKINGS
    size = len(data) // 2
    while size and left:
        start = 0
        while start < len(data) and left:
            smaller = data[:start] + data[start + size :]
            left -= 1
            if worker.ask(form, data=smaller.hex()).get("kind") == kind:
                data = smaller
            else:
                start += size
        size //= 2
    return data


def main() -> None:
    """The command; exits with 1 where anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", type=int, help="inputs for each format")
    parser.add_argument("--format", choices=NAMES, action="append", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    result = fuzz(options.count, tuple(options.format or NAMES), options.seed, options.workers, options.keep)
    for form, counts in result.counts.items():
        print(f"{form:13} {counts['read']:7} read {counts['refused']:7} refused {counts['failed']:5} failed")
    for description in result.failures.values():
        print(description)
    sys.exit(bool(result.failures))


if __name__ == "__main__":
    main()
