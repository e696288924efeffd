"""`python -m priorscope.cli`."""

from priorscope.cli import main

if __name__ == "__main__":
    main()
