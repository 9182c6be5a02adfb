"""`python -m tools.deploy`: make `deploy/` anew."""

from tools.deploy import made

for path, text in made().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
