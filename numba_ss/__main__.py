"""``python -m numba_ss``: the command line."""

from numba_ss.cli.main import main

if __name__ == "__main__":
    main()
