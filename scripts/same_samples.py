"""Do two commits speak the same samples, bit for bit, on this machine?

    python scripts/same_samples.py fe49175

Ten sentences by every speaker of `weights/duo` as it was at that commit, spoken by its code and by this working tree.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SENTENCES = [
    "Hello.",
    "Is that the train to Oxford, or the one to Bath?",
    "On March 3, 1984, she paid $12.50 for two books.",
    "No!",
    "The quick brown fox jumps over the lazy dog while the rain falls softly on the old tin roof.",
    "Dr. Smith lives at 221 Baker St., doesn't he?",
    "I read the lead story, and then I led them to the red door.",
    "Wait, wait: what did you just say?",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Thank you very much; good night, and sleep well.",
]


def spoken(code: Path, voice: Path) -> list[str]:
    """Speaker, sentence and a hash of its samples, one per line, as the code in a folder speaks them."""
    program = f"""
import hashlib
from bitjets_mlx import load_voice
voice = load_voice({str(voice)!r})
for speaker in voice.speakers:
    for sentence in {SENTENCES!r}:
        print(speaker, hashlib.sha256(voice.speak(sentence, speaker).tobytes()).hexdigest(), sentence)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=code, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main() -> int:
    """0 where all samples are the same."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", before, sys.argv[1]], cwd=ROOT, check=True)
        try:
            old, new = (spoken(code, before / "weights" / "duo") for code in (before, ROOT))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", before], cwd=ROOT, check=True)
    different = [line for line, other in zip(old, new, strict=True) if line != other]
    print(f"{len(old) - len(different)} of {len(old)} utterances are the same bit for bit", *different, sep="\n")
    return bool(different)


if __name__ == "__main__":
    raise SystemExit(main())
