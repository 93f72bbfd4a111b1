"""``python -m charter``: the command ``charter`` of this interpreter."""

from charter.cli.app import main

if __name__ == "__main__":
    main()
