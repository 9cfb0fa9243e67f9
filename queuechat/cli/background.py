"""`queuechat background`: batches and other work that nobody waits for."""

from __future__ import annotations

from queuechat.cli.app import app, settings
from queuechat.embedded import redis_for


@app.command()
def background() -> None:
    """Run batches (/v1/batches), write down votes and conversations, rate models, remove expired files.

    Several may run; each batch is run by one of them.
    """
    loaded = settings()
    from workers.background.server import run

    with redis_for(loaded.redis_url, loaded.state_dir) as url:
        run(loaded, url)
