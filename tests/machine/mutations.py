"""The mutation check: machines must fail with functions that lack a guard.

How `append` (publish), `finish_job` and `enqueue` guard themselves twice, so that users are safe even without one:

    guard taken out           what covers it for users                        seen by the machine as
    fence                     hash and offset, where owners say the same      the answer FENCED stays away
    hash                      fence; offset, where owners say the same        the answer DIVERGED stays away
    DUP                       offset: GAP, and nothing is written             the answer DUP stays away
    offset                    hash, but for a gap after nothing at all        the answer GAP stays away
    owner in finish           offset, where the zombie is behind              the answer FENCED stays away
    id twice in enqueue       the idempotency key, where there is one         the queue, and the answer

The machine foretells every answer, so it notices also those that another guard covers: pairs are there for users' sake.
"""

from __future__ import annotations

import contextlib
import io
import traceback
from functools import cache
from typing import NamedTuple

from queuechat.bus.lua import library
from queuechat.errors import QueuechatError
from tests.machine.ground import Ground
from tests.machine.machine import Machine
from tests.machine.run import run_machine

_FENCE = ("  if v[1] ~= a[i + 1] then return 'FENCED' end\n", "")
_HASH = ("  if v[3] ~= a[i + 4] then return 'DIVERGED' end\n", "")
_DUP = ("  if first + count <= at then return 'DUP' end\n", "")
_OFFSET = ("  if first ~= at then return 'GAP' end\n", "")
_SAME_ID = ("redis.call('EXISTS', p .. 'job:' .. args[i]) == 0", "true")
_KEY = ("  if idem == '' then return nil end\n", "  do return nil end\n")
_PLACES = {
    "_usage": "  local bill = redis.call('XADD', p .. 'usage',",
}


class Mutation(NamedTuple):
    """A library that is wrong: each text is there once and is replaced by the other."""

    name: str
    changes: tuple[tuple[str, str], ...]


def _one(name: str, old: str, new: str = "") -> Mutation:
    return Mutation(name, ((old, new),))


MUTATIONS = (
    Mutation("publish without the fence", (_FENCE,)),
    Mutation("publish without the hash", (_HASH,)),
    Mutation("publish without fence and hash", (_FENCE, _HASH)),
    Mutation("publish without DUP", (_DUP,)),
    Mutation("publish without DUP and hash", (_DUP, _HASH)),
    Mutation("publish without the offset", (_OFFSET,)),
    Mutation("publish without offset and hash", (_OFFSET, _HASH)),
    _one(
        "publish to what must stop",
        "  if verdict then return verdict == 'deadline' and 'DEADLINE' or 'CANCEL' end\n",
    ),
    _one("finish leaves the entry", "  redis.call('XDEL', p .. v[2], v[1])\n"),
    _one("finish does not acknowledge", "  redis.call('XACK', p .. v[2], GROUP, v[1])\n"),
    _one("finish leaves the deadline", "  redis.call('ZREM', p .. 'deadlines', id)\n  local read", "  local read"),
    _one(
        "finish bills twice",
        _PLACES["_usage"],
        "  redis.call('XADD', p .. 'usage', '*', 'id', id)\n" + _PLACES["_usage"],
    ),
    _one("finish keeps the hash for ever", "  redis.call('PEXPIRE', key, keep)\n"),
    _one("finish by anybody", "  if v[2] ~= args[2] then return 'FENCED' end\n"),
    _one(
        "finish again",
        "  if not v[1] or not alive(v[1]) then return 'ALREADY' end\n  if v[2] ~= args[2] then return 'FENCED' end\n",
    ),
    _one("finish with a gap", "  if v[3] ~= args[3] then return 'GAP' end\n"),
    _one("crashes are not counted", "then crashes = crashes + 1 else", "then else"),
    _one("kills are not counted", "kills = kills + 1", ""),
    _one("the killed are suspected too", "else kills = kills + 1 end", "else crashes = crashes + 1 end"),
    _one("a lapse is not counted", "  return bereave(p, id, v, 'lapsed', false, t)\n"),
    _one("progress forgives nothing", "  if proven(v) then crashes, kills = 0, 0 end\n"),
    _one("nobody is ever suspected", "HGET', p .. 'job:' .. id, 'crashes') or 0) >= SUSPECT", "HLEN', p) or 0) > 0"),
    _one("a suspect has company", "suspect and who.fresh + #found + #out == 0", "suspect and who.fresh == 0"),
    _one("a suspect claimed again has company", "      suspect = suspect or suspected(p, id)\n"),
    Mutation("the same id twice", (_SAME_ID,)),
    Mutation("idempotency keys are not read", (_KEY,)),
    Mutation("the same id twice, keys are not read", (_SAME_ID, _KEY)),
    _one("an end frees the key of another", "  if redis.call('HGET', idem, 'id') ~=", "  if false and id ~="),
    _one("a crash leaves the owner", "'kills', kills, 'own', '',", "'kills', kills,"),
    _one("a drain leaves the owner", "redis.call('HSET', key, 'own', '', ", "redis.call('HSET', key, "),
    _one("what is handed back is not free", "one.sid, 'IDLE', HANDED_MS, 'JUSTID')", "one.sid, 'JUSTID')"),
    _one("leases run out while Redis was down", "(steady or entry[3] >= HANDED_MS) and", ""),
    _one("the epoch stands still", "local epoch = tonumber(v.epoch) + 1", "local epoch = 1"),
    _one("a claim again gives what others own", "'own') == who.nonce then", "'own') then"),
    _one("a redriven job is billed twice", "redis.call('XDEL', p .. 'usage', v[5])", "local _ = 0"),
    _one("a redriven job has two ends", "      redis.call('XDEL', p .. 'log:' .. id, v[3] .. '-' .. v[4])\n"),
    _one("a redriven job is counted twice", "\n        add_spent(p, v[8],", "\n        string.format(p, v[8],"),
    _one("turns are not counted", "        redis.call('ZINCRBY', stream .. ':turns', 1, tenant)\n"),
    _one(
        "who comes has the first turn",
        "'ZADD', stream .. ':turns', turn or 0, tenant",
        "'ZADD', stream .. ':turns', 0, tenant",
    ),
    _one("who ended still waits", "  leave_room(p .. v[2], v[4], v[1])\n"),
    _one("who was taken still waits", "    leave_room(stream, tenant, sid)\n"),
    _one("a full room is full for all", "tenants == 1 or own + count > math.floor(limit / tenants)", "true"),
    _one("heard grants are not compared", "  return one and one.granted == heard\n", "  return one\n"),
    _one("what was heard of is told again", "  return one and one.granted == heard\n"),
    _one(
        "what Redis knows of no more is not told again", "return one and one.granted", "return not one or one.granted"
    ),
    _one("a claim asked again stands", "if args[6] == '1' or enough(out) then", "if enough(out) then"),
    _one("a claim asked again goes on standing", "  if args[6] == '1' then take_back(p, who.nonce) end"),
    _one(
        "what stood is not taken back by the next claim",
        "  redis.call('HDEL', p .. 'standing', nonce)\n  return",
        "  return",
    ),
    _one("a release leaves claims standing", "  take_all_back(p)\n  local guilty", "  local guilty"),
    _one("a bereavement leaves claims standing", "  take_all_back(p)\n  if what ==", "  if what =="),
    _one("a claim that was held back stands", "  if held then", "  if held and not may_stand(p, args, out) then"),
    _one("a claim without room stands", " and tonumber(args[4]) > #out"),
    _one("a claim without free places stands", "tonumber(args[12] or 0) > #out and tonumber", "tonumber"),
    _one("places that a claim filled are free", "tonumber(args[12]) - #out", "tonumber(args[12])"),
    _one(
        "room that a claim filled is left",
        "tonumber(args[4]) - #out, tonumber(args[13])",
        "tonumber(args[4]), args[13]",
    ),
    _one("grants are not counted", "one.granted + 1 }", "one.granted }"),
    _one("more is granted than may be", "    elseif one.left > 0 then", "    else"),
    _one("what may be granted does not grow less", "one.left - 1, one.granted", "one.left, one.granted"),
    _one("more is granted than there are places", "math.min(left, free, MOST)", "math.min(left, MOST)"),
    _one("a frozen worker keeps all that comes", "math.min(left, free, MOST)", "math.min(left, free)"),
    _one("a worker with less room is granted more", "one.free > open[at].free", "one.free < open[at].free"),
    _one("places do not fill with grants", "one.free - 1, one.left", "one.free, one.left"),
    _one("claims stand for ever", "    if t > one.till then\n", "    if not one then\n"),
    _one("claims that are over are not forgotten", "      redis.call('HDEL', p .. 'standing', rows[i])\n"),
    _one("who is gone is granted jobs", "if not best or listens(best.nonce) then", "if true then"),
    _one("who is gone is not forgotten", "    redis.call('HDEL', p .. 'standing', best.nonce)\n"),
    _one(
        "who is gone keeps jobs from others",
        "if not best or listens(best.nonce) then return best end",
        "do return best and listens(best.nonce) and best end",
    ),
    _one("who comes is granted before those who wait", " or waiting(stream) > left then", " then"),
    _one("bulk is granted unasked", "if args[1] ~= 'jobs' or waiting", "if waiting"),
    _one("long requests are granted unasked", "    if #args[i + 1] > HAND_BYTES then return left end\n"),
    _one("nobody is told of a grant", "redis.call('PUBLISH', channel_of(one.nonce),\n", "string.format('%s',\n"),
    _one("the granted are told another nonce", "({ one.nonce, got[3]", "({ who.worker, got[3]"),
    _one("the granted are told another number", "whole(got[6]), one.left - 1 }", "whole(got[6]), one.left }"),
    _one(
        "all are woken for what was granted",
        "  local left = hand_out(p, stream, args, new, t)\n",
        "  local left = #new; hand_out(p, stream, args, new, t)\n",
    ),
    _one(
        "nobody is woken for what was not granted",
        "  if left > 0 then redis.call('PUBLISH', p .. 'wake'",
        "  if left > #new then redis.call('PUBLISH', p .. 'wake'",
    ),
    _one("grants told again have another nonce", "do got[#got + 1] = stood end", "do got[8] = who.nonce end"),
    _one("renew does not renew", "    redis.call('XCLAIM', one.stream, GROUP, one.worker, 0, one.sid, 'JUSTID')\n"),
)
#: What the reference names, for every test run; the others are tried by `python -m tests.machine --mutations`.
ALWAYS = (
    "publish without fence and hash",
    "publish without DUP and hash",
    "publish without offset and hash",
    "finish leaves the entry",
    "finish leaves the deadline",
    "finish bills twice",
    "finish by anybody",
    "finish again",
    "crashes are not counted",
    "nobody is ever suspected",
    "the same id twice, keys are not read",
    "a crash leaves the owner",
    "a drain leaves the owner",
    "leases run out while Redis was down",
    "turns are not counted",
    "who ended still waits",
    "heard grants are not compared",
    "a claim asked again goes on standing",
    "a release leaves claims standing",
)


@cache
def sound() -> tuple[str, int, str]:
    """The library as it was when this run began, whoever works on it meanwhile."""
    return library()


def mutated(mutation: Mutation) -> str:
    """The library with these changes, of a later revision, so that no bus replaces it."""
    text, revision, sha = sound()
    for old, new in (
        *mutation.changes,
        (f"local REVISION = {revision}\n", f"local REVISION = {revision + 1000}\n"),
        (f"{revision}:{sha}", f"{revision + 1000}:mutant"),
    ):
        assert text.count(old) == 1, f"{mutation.name}: {old!r} is {text.count(old)} times in the library"
        text = text.replace(old, new)
    return text


def caught_by(mutation: Mutation, ground: Ground, *, examples: int = 150, number: int | None = None) -> str:
    """What a machine said of these functions; "" when it found nothing wrong."""
    ground.load(mutated(mutation))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run_machine(Machine, ground, examples=examples, steps=40, number=number, shrink=False)
    except (AssertionError, QueuechatError, TimeoutError) as error:
        lines = str(error).splitlines()
        return lines[0] if lines else f"{type(error).__name__} in {_place(error)}"
    finally:
        ground.load(sound()[0])
    return ""


def _place(error: Exception) -> str:
    """The innermost function of ours that raised it."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "machine" in frame.filename]
    return ours[-1].name if ours else "?"
