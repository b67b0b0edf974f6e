"""``cai annotate RUN``: the voting page of a run, served to this machine alone until Ctrl-C.

    annotate(Path("runs/latest"), Options(per_pair=2), print)

The token is a new one at each start: it is a secret, and a run folder is made to be passed on. What makes a
restart painless is kept instead: the port, because a browser keeps unsent votes under it. An open page waits,
and goes on by itself when the new address is opened in any tab of the same browser.
"""

from __future__ import annotations

import fcntl
import resource
import secrets
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cai.human.votes.desk import Desk
from cai.human.votes.guard import Door
from cai.human.votes.log import VoteLog
from cai.human.votes.pages import application
from cai.human.votes.poll import Options, Poll, load_poll
from cai.values.errors import UsageError

LOG = "votes.sqlite"
WAITING = 1024  # connections that the system keeps until they are answered: a class opens the page at once
KEEP_ALIVE = 75  # seconds; a person looks at a pair for longer than the 5 that uvicorn would wait
_FILES = 8192  # open files that are asked for: a thousand browsers
_PORT, _RUN = "port", "run"


def annotate(run: Path, options: Options, tell: Callable[[str], None]) -> None:
    """Serve the voting page until interrupted. ``tell`` gets the lines for the terminal.

    Raises:
        UsageError: no run folder, no pairs yet, another server works on this run, or the port is in use.
        CaiError: the queue, the pairs or the log of votes is damaged.
    """
    poll = load_poll(run, options)
    with _alone(run), closing(VoteLog(run / LOG)) as log, _listening(log, options.port) as listener:
        port = listener.getsockname()[1]
        log.note(_PORT, str(port))
        if (run_id := log.recall(_RUN)) is None:
            run_id = uuid.uuid4().hex
            log.note(_RUN, run_id)
        door = Door(port, secrets.token_urlsafe(24))
        for line in _greeting(run, poll, options, log):
            tell(line)
        tell(f"Open  {door.address}")
        tell("Ctrl-C ends it; every vote is stored the moment it is cast.")
        _serve(application(Desk(poll, options, log), door, run_id), listener)
        for line in _farewell(run, log):
            tell(line)


def _greeting(run: Path, poll: Poll, options: Options, log: VoteLog) -> Iterator[str]:
    source = "routed to people" if poll.queued else "of the run"
    each = "1 vote each" if options.per_pair == 1 else f"{options.per_pair} votes each"
    yield f"Voting page of {run}: {len(poll.items):,} pairs {source}, {each}"
    if poll.left_out:
        yield f"  {poll.left_out:,} pairs left out: an empty or too long text, or twice the same response"
    cast = [vote for vote in log.standing if vote.choice != "skip"]
    if cast:
        others = sum(vote.item not in poll.items for vote in cast)
        more = f", {others:,} of them on other pairs or questions" if others else ""
        yield f"  {len(cast):,} votes stored so far{more}"


def _farewell(run: Path, log: VoteLog) -> Iterator[str]:
    cast = [vote for vote in log.standing if vote.choice != "skip"]
    people = len({vote.annotator for vote in cast})
    whose = f" of {people} {'annotator' if people == 1 else 'annotators'}" if people else ""
    yield f"\n{len(cast):,} {'vote' if len(cast) == 1 else 'votes'}{whose} stored in {log.path}"
    yield f"Next: cai agreement {run}    how far people agree, with each other and with the AI labeler"
    yield f"      cai mix {run}          the votes into a training round"


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Two servers of one run would give the same pair away twice; the lock goes with the process."""
    try:
        file = (run / ".votes.lock").open("w")
    except OSError as error:
        raise UsageError(f"{run}: cannot be written to ({error.strerror}); votes need a place") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{run}: another cai annotate serves this run; open its address (several people can vote "
                "at once), or end it first"
            ) from None
        yield


@contextmanager
def _listening(log: VoteLog, port: int) -> Iterator[socket.socket]:
    """A socket on 127.0.0.1: on ``port``, or for 0 on that of the last time if it is free."""
    before = log.recall(_PORT) or "0"
    for candidate in [port] if port else [int(before), 0]:
        try:
            # Reuse: a server that was killed leaves connections that linger. It steals no port in use.
            listener = socket.create_server(("127.0.0.1", candidate), backlog=WAITING)
        except (OSError, OverflowError) as error:
            if candidate:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                failed = UsageError(f"port {candidate}: {reason}; name another with --port, or none")
                if port:
                    raise failed from None
                continue
            raise
        with closing(listener):
            yield listener
        return


def _serve(app: Callable[..., object], listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=KEEP_ALIVE,
        backlog=WAITING,
    )
    allow_files()
    with suppress(KeyboardInterrupt):  # how one ends a server
        uvicorn.Server(config).run(sockets=[listener])


def allow_files() -> None:
    """As many open files as the system lets a process have: a browser keeps up to six connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a system's own limit below the one that it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
