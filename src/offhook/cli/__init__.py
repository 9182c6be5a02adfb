"""The command line: one module for each command, loaded only when it is called."""

__all__ = ["main"]


def main() -> None:
    """Run `offhook` with the arguments of this process, and exit. See `commands.main`."""
    # Not at the top: importing this package must not load Typer (5 MB, 0.08 s).
    from offhook.process import loading  # noqa: PLC0415

    loading.begin()
    from offhook.cli import commands  # noqa: PLC0415

    commands.main()
