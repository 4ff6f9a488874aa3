"""The notebook docs/own_data.ipynb: the page docs/own_data.md as cells, with what a hosted runtime needs around them.

`python tests/notebook.py` writes it anew from the page.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NOTEBOOK = DOCS / "own_data.md", DOCS / "own_data.ipynb"
SET_UP = """# On a hosted runtime: fetches and installs skillhier. In a checkout whose .venv is the kernel: nothing.
import importlib.util
import os

REPOSITORY = ""  # where your copy of the repository lies, as `git clone` takes it
if REPOSITORY and not os.path.isdir("skillhier"):
    !git clone --depth 1 {REPOSITORY} skillhier
if os.path.isdir("skillhier/experiments"):
    %cd skillhier
if importlib.util.find_spec("skillhier") is None:
    %pip install --quiet -e . minari pygame"""
SHOWN = {  # what a command leaves, shown in a cell after it
    "experiments.helms_skills": """from IPython.display import HTML

HTML(filename="runs/my_skills/report.html")""",
    "experiments.watch": """from IPython.display import Video

Video("runs/my_skills/watch/episode.mp4", embed=True)""",
}


def of_page() -> NotebookNode:
    """The notebook that the page makes."""
    cells = [v4.new_code_cell(SET_UP)]
    for part in re.split(r"(?ms)^(```\w+\n.*?^```)$", PAGE.read_text()):
        fenced = re.fullmatch(r"(?s)```(\w+)\n(.*)```", part)
        if fenced is None:
            if part.strip():
                cells.append(v4.new_markdown_cell(part.strip()))
            continue
        language, text = fenced.groups()
        cells.append(v4.new_code_cell(text.strip() if language == "python" else f"!{text.strip()}"))
        entry = re.match(r"python -m (\S+)", text)
        if language == "bash" and entry and entry.group(1) in SHOWN:
            cells.append(v4.new_code_cell(SHOWN[entry.group(1)]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


if __name__ == "__main__":
    nbformat.write(of_page(), NOTEBOOK)
