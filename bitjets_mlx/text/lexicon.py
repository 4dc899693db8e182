"""The user's own pronunciations: a text file of words and phonemes.

One word a line, then its phonemes, all separated by spaces; `#` begins a comment; a later line overrides an earlier:

    # our product
    bitjets  B IH1 T JH EH2 T S
    Xylo     Z AY1 L OW0

Words are matched without regard to case, except that an entry written with capitals and spelled exactly so in the
text is found first.
"""

from pathlib import Path

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.symbols import PHONEMES

_KNOWN = frozenset(PHONEMES)


def load_lexicon(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read a lexicon file. Raises BitjetsError naming the file, line and what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BitjetsError(f"cannot read the lexicon {path}: {error}; give a UTF-8 text file") from None
    lexicon: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        word, *phonemes = line.partition("#")[0].split() or [""]
        if not word:
            continue
        wrong = [phoneme for phoneme in phonemes if phoneme not in _KNOWN]
        if not phonemes or wrong:
            problem = f"{wrong[0]!r} is no ARPAbet phoneme" if wrong else f"{word!r} has no phonemes"
            raise BitjetsError(f"{path}, line {number}: {problem}; write lines such as: hello HH AH0 L OW1")
        lexicon[word] = tuple(phonemes)
        lexicon.setdefault(word.lower(), tuple(phonemes))
    return lexicon
