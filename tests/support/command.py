"""The command line, called in this process."""

import contextlib
import resource

from mmlearngene import cli


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def fails(capsys, *arguments):
    """The message of a run that must end with status 2; argparse's own errors too."""
    try:
        status = run(*arguments)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    assert captured.err.splitlines()[-1].startswith("mmlearngene"), captured.err
    return captured.err


@contextlib.contextmanager
def room(size):
    """The system lets no file of this process grow larger, as where a disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
