"""Start a child process: `python -m offhook.process MODULE ...` calls the `main` of a module."""

import sys
from importlib import import_module

from offhook.process import loading

if __name__ == "__main__":
    loading.begin()
    import_module(sys.argv.pop(1)).main()
