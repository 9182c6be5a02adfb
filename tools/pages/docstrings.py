"""Google-style docstrings as Markdown."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_HEADING: Final = re.compile(r"(Args|Attributes|Returns|Raises|Example|Examples)::?")
_ITEM: Final = re.compile(r"(?P<names>\*{0,2}\w+(?:, \w+)*): (?P<text>.*)")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, taken apart.

    Attributes:
        text: all before the first heading, as paragraphs.
        sections: the indented lines under each heading, without their indentation.
    """

    text: str
    sections: dict[str, str]

    @classmethod
    def of(cls, thing: Any) -> "Docstring":
        """Return the docstring of a class, function or property."""
        parts: dict[str, list[str]] = {"": []}
        heading = ""
        for line in (inspect.getdoc(thing) or "").splitlines():
            if match := _HEADING.fullmatch(line):
                heading = match[1]
                parts[heading] = []
            elif heading and line and not line.startswith(" "):
                heading = ""  # a paragraph behind a section belongs to the text
                parts[heading] += ["", line]
            else:
                parts[heading].append(line)
        text = "\n".join(parts.pop("")).strip()
        return cls(text, {name: inspect.cleandoc("\n" + "\n".join(p)) for name, p in parts.items()})

    def items(self, heading: str) -> dict[str, str]:
        """Return what a section says of each name, on one line."""
        found: dict[str, str] = {}
        names: list[str] = []
        for line in self.sections.get(heading, "").splitlines():
            if match := _ITEM.fullmatch(line):
                names = match["names"].split(", ")
                found |= dict.fromkeys(names, match["text"])
            else:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
        return found

    def markdown(self, *, without: frozenset[str] = frozenset()) -> str:
        """Return it as Markdown; sections named in `without` are left out."""
        parts = [self.text]
        parts += [part for heading in self.sections if heading not in without
                  for part in self._section(heading)]  # fmt: skip
        return "\n\n".join(parts)

    def _section(self, heading: str) -> Iterator[str]:
        content = self.sections[heading]
        if heading.startswith("Example"):
            yield f"```python\n{content}\n```"
            return
        items = self.items(heading)
        yield f"**{heading}**" if items else f"**{heading}** {' '.join(content.split())}"
        if items:
            yield "\n".join(f"- `{name}`: {text}" for name, text in items.items())
