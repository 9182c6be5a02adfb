"""The command line: one module a command, loaded only when that command is called."""

__all__ = ["main"]


def main() -> None:
    """Run `offhook` with the arguments of this process, and exit. See `program.main`."""
    # Not above: the children of `offhook run` are in this package too, and need no Typer (5 MB
    # and 0.08 s each).
    from offhook.cli import commands  # noqa: PLC0415

    commands.main()
