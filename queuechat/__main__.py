"""`python -m queuechat` is the `queuechat` command."""

from queuechat.cli import main

if __name__ == "__main__":
    main()
