"""``python -m npnet`` is the console script ``npnet``."""

from npnet.cli import main

if __name__ == "__main__":
    main()
