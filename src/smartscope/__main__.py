"""``python -m smartscope``: the command line without its script."""

from smartscope.app.cli import main

if __name__ == "__main__":
    main()
