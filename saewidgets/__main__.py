"""``python -m saewidgets`` is the command line."""

from saewidgets.cli import main

if __name__ == "__main__":
    main()
