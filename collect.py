"""Collect noise pairs: ``python collect.py KEY=VALUE ...``; see ``collect/cli.py``."""

from collect.cli import main

if __name__ == "__main__":
    main()
