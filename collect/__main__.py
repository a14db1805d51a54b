"""``python -m collect`` is ``python collect.py``."""

from collect.cli import main

if __name__ == "__main__":
    main()
