"""`python -m tools.pages`: make those parts of the documentation anew that are made from code."""

from tools.pages import fill, pages

for page in pages():
    text = page.read_text("utf-8")
    made = fill(text)
    if made != text:
        page.write_text(made, "utf-8")
