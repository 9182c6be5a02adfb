"""The rules of `offhook.alerts`, as Markdown."""

from offhook.alerts import RULES, Rule


def table() -> str:
    """Return what is looked for, and what to do."""
    rows = [
        f"| `{rule.name}` | {_beyond(rule, rule.warning)} | {_beyond(rule, rule.critical)} | "
        f"{rule.remedy} |"
        for rule in RULES
    ]
    return "\n".join(["| alert | warning | critical | what to do |", "|---|---|---|---|", *rows])


def _beyond(rule: Rule, bound: float | None) -> str:
    match bound, rule.unit:
        case None, _:
            return ""
        case 0.0, "":
            return "yes"
        case float(), "%":
            return f"> {bound:.0%}"
        case _:
            return f"> {bound:g} {rule.unit}"
