"""``python -m numba_ss``: the command line."""

from numba_ss.cli import main

if __name__ == "__main__":
    main()
