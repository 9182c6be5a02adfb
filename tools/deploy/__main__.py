"""`python -m tools.deploy`: make `deploy/` anew."""

from tools.deploy import FILES

for path, make in FILES.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make(), "utf-8")
