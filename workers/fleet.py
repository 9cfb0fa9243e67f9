"""Several workers in one process, one for each model of an `api_endpoints.json`: each has a child of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import replace

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import Misconfigured
from workers.endpoints import endpoint_of, read_endpoints
from workers.models import Spec
from workers.supervisor import Supervisor


def remote_specs(
    path: str | None,
    model: str | None,
    *,
    names: Sequence[str] = (),
    api_base: str | None = None,
    api_type: str | None = None,
    api_key_env: str | None = None,
) -> list[Spec]:
    """The specs of the models of a file, or of the one that flags describe.

    Raises:
        Misconfigured: they do not go together, or an entry is not of the format, or its key is not there.
    """
    described = {"api_base": api_base, "api_type": api_type, "api_key_env": api_key_env}
    if path is not None:
        if odd := [name for name, value in described.items() if value is not None]:
            raise Misconfigured(f"--{odd[0].replace('_', '-')} stands in the file of --endpoints; leave it out")
        entries = read_endpoints(path, model)
    elif model is None or api_base is None:
        raise Misconfigured("engine 'remote' needs --endpoints FILE, or --model with --api-base URL")
    else:
        told = {name: value for name, value in described.items() if value is not None}
        entries = {model: {"model_name": model, "api_type": "openai", **told}}
    if names and len(entries) > 1:
        raise Misconfigured("--name is for one model: give --model as well, or `aliases` in the file of --endpoints")
    return [_spec(name, entry, names) for name, entry in entries.items()]


def _spec(name: str, entry: dict[str, object], names: Sequence[str]) -> Spec:
    endpoint = endpoint_of(entry, name)
    endpoint.key()  # that it is there is better known now
    served = [keys.check_model(each) for each in (names or [name, *endpoint.aliases])]
    return Spec(served[0], list(served[1:]), "remote", endpoint.model_name, endpoint=entry)


async def supervise(specs: Sequence[Spec], *, drain_s: float, hang_s: float) -> None:
    """Run a worker for each, until SIGTERM or SIGINT; a second one does not wait for what is running. When one cannot
    start at all, the others are stopped as well, and whoever started them is told."""
    bus = await Bus(specs[0].redis_url).open()
    supervisors = [Supervisor(replace(spec), bus, drain_s=drain_s, hang_s=hang_s) for spec in specs]

    def stop() -> None:
        for supervisor in supervisors:
            supervisor.stop()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    running = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
    try:
        _, others = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        if others:
            stop()
            await asyncio.wait(others)
        for ended in running:
            ended.result()
    finally:
        await bus.close()
