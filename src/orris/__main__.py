"""``python -m orris`` is ``orris``."""

from orris.cli import main

if __name__ == "__main__":
    main()
