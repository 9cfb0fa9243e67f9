"""Every Redis key and its lifetime. Names are for people: `redis-cli --scan --pattern 'qc:*'` reads like a map.

    key                     type     what                                             lives
    qc:{m}:jobs             stream   ids of requests that wait or run; group workers  until ack + delete
    qc:{m}:bulk             stream   the same, batch lane: taken with spare slots     until ack + delete
    qc:{m}:reads            stream   the same of prompts that are only read           until ack + delete
    qc:{m}:jobs:turns       zset     who waits: tenant by the number of its next turn until nobody waits
    qc:{m}:jobs:of:<key>    zset     entries of a tenant that wait, by when they came until taken or ended
    qc:{m}:job:<id>         hash     the request and where it stands                  end + 15 min, or as its response
    qc:{m}:log:<id>         stream   the answer; entry id = token offset (<end>-0)    end + 15 min, or as its response
    qc:{m}:out:<id>         channel  the same entries, as they happen                 -
    qc:{m}:wake             channel  "there is something to take", to idle workers    -
    qc:{m}:standing         hash     claims of workers with room, waiting for a job   1.5 s, renewed each second
    qc:{m}:deadlines        zset     id by deadline (ms)                              until the end
    qc:{m}:pulse            hash     when workers last spoke, and since when they do  -
    qc:{m}:dead             stream   dead letters, never the prompt                   last 10,000; the job 7 days
    qc:{m}:usage            stream   one entry per ended job                          last 100,000
    qc:{m}:spent:<day>      hash     requests and tokens of each key on a day (UTC)       400 days after its last
    qc:{m}:depth            string   JSON for autoscalers, renewed each second        5 s
    qc:idem:{m}:<sha>       hash     idempotency key -> id and body hash              end + 15 min
    qc:model:<m>            string   model card                                       24 h after its last worker
    qc:models               zset     directory: model name by last beat (ms)          -
    qc:worker:<w>           string   worker card: liveness and load                   3 s, renewed each second
    qc:workers              zset     directory: worker id by last beat (ms)           -
    qc:control:<w>          channel  "cancel <id>" and "drain" for one worker         -
    qc:control:<w>:grants   channel  jobs given to a claim that its engine left standing  -
    qc:limit:<id>:running   zset     requests of a key that are being answered        10 s, renewed each second
    qc:limit:{<id>}:rate    hash     requests and tokens that a key, or a person at the page, has left  until full again
    qc:limit:{<id>}:paid:<r> string  tokens that a request has paid ahead                 its end, or its deadline
    qc:limit:from:<address> string   wrong keys that came from there                      a minute
    qc:limit:login:<address> string  passwords that were tried from there                 a minute
    qc:key:<id>             hash     an API key, hashed                               until revoked
    qc:page:secret          string   what pseudonyms and logins of the page are made with  -
    qc:keys                 set      directory: ids of API keys                       -
    qc:file:<id>            string   a file's record; its content lies on disk        until deleted or expired
    qc:files:<tenant>       zset     files of a key by creation (ms)                  -
    qc:files                zset     files that expire, by when (ms)                  -
    qc:batch:<id>           hash     a batch: where it stands, and who runs it        end + 30 days
    qc:batches:<tenant>     zset     batches of a key by creation (ms)                -
    qc:batches              zset     all batches by creation (ms)                     -
    qc:open_batches         zset     batches that have not ended, by creation (ms)    until the end
    qc:response:<id>        hash     what a response was asked, and its outcome       a day (a setting)
    qc:{arena}:battle:<id>  hash     a battle, and its vote                           a day after its last turn
    qc:{arena}:lines        stream   votes and conversations, for the log files       until they are in a file
    qc:{arena}:line:<id>    string   that line was added: a repeat adds no other      an hour
    qc:{arena}:votes        hash     how many votes each model has had in the arena   -
    qc:{arena}:writer       string   who writes the log files now                     5 s, renewed as it writes
    qc:{arena}:leaderboard  string   scores, intervals and ranks (JSON)               until the next one
    qc:{arena}:rated        string   they were computed just now, or are being        a setting
    qc:background           zset     arq's queue: steps that wait, by when            until run
    qc:background:<host>    string   arq's sign that the host's background process lives  3 s, renewed every 2 s
    arq:*                   string   arq's own: a step, that it runs, its tries       a day at most

The braces are part of the name: all keys of a model share a cluster hash slot, so each transition is one atomic call.
"""

from __future__ import annotations

import re

from queuechat.errors import InvalidRequest

GROUP = "workers"

PROVEN = 8  #: tokens since it was taken that show that a job does not kill its worker
SUSPECT = 2  #: crashes in a row after which a job is watched alone
LEASE_MS = 5_000  #: a running job whose lease was not renewed for so long belongs to whoever takes it
BEAT_S = 1.0  #: how often leases, worker cards and viewer marks are renewed
STANDING_MS = 1_500  #: a worker that is not heard of for so long is granted nothing but what it asks for
WORKER_MS = 3_000
MODEL_S = 24 * 3600
DEPTH_MS = 5_000
BATCH_S = 30 * 24 * 3600  #: an ended batch is kept for so long
LOG_S = 15 * 60  #: an ended log is kept for so long, or as its response
LINE_MS = 3_600_000  #: a log line that is added again within so long is the same one
HOLD_MS = 10_000  #: a request whose server died takes a place of its key for so long

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")


def check_model(name: str) -> str:
    """The name itself.

    Raises:
        InvalidRequest: it is not 1 to 200 letters, digits and `._:/@+-`, beginning with a letter or digit.
    """
    if not _MODEL.fullmatch(name):
        raise InvalidRequest(
            f"model name {name[:80]!r} is not 1 to 200 letters, digits or ._:/@+- beginning with a letter or digit",
            param="model",
        )
    return name


def jobs(model: str) -> str:
    return f"qc:{{{model}}}:jobs"


def bulk(model: str) -> str:
    return f"qc:{{{model}}}:bulk"


def reads(model: str) -> str:
    return f"qc:{{{model}}}:reads"


def turns(model: str) -> str:
    return f"qc:{{{model}}}:jobs:turns"


def job(model: str, id: str) -> str:
    return f"qc:{{{model}}}:job:{id}"


def log(model: str, id: str) -> str:
    return f"qc:{{{model}}}:log:{id}"


def out(model: str, id: str) -> str:
    return f"qc:{{{model}}}:out:{id}"


def wake(model: str) -> str:
    return f"qc:{{{model}}}:wake"


def standing(model: str) -> str:
    return f"qc:{{{model}}}:standing"


def deadlines(model: str) -> str:
    return f"qc:{{{model}}}:deadlines"


def dead(model: str) -> str:
    return f"qc:{{{model}}}:dead"


def pulse(model: str) -> str:
    return f"qc:{{{model}}}:pulse"


def usage(model: str) -> str:
    return f"qc:{{{model}}}:usage"


def spent(model: str, day: str) -> str:
    return f"qc:{{{model}}}:spent:{day}"


def depth(model: str) -> str:
    return f"qc:{{{model}}}:depth"


def idem(model: str, sha: str) -> str:
    return f"qc:idem:{{{model}}}:{sha}"


def model_card(model: str) -> str:
    return f"qc:model:{model}"


def worker_card(worker: str) -> str:
    return f"qc:worker:{worker}"


def control(worker: str) -> str:
    return f"qc:control:{worker}"


def grants(worker: str) -> str:
    return f"qc:control:{worker}:grants"


def running(key: str) -> str:
    return f"qc:limit:{key}:running"


def rate(key: str) -> str:
    return f"qc:limit:{{{key}}}:rate"


def wrong_keys(address: str) -> str:
    return f"qc:limit:from:{address}"


def passwords(address: str) -> str:
    return f"qc:limit:login:{address}"


def api_key(id: str) -> str:
    return f"qc:key:{id}"


def file(id: str) -> str:
    return f"qc:file:{id}"


def files(tenant: str) -> str:
    return f"qc:files:{tenant}"


def batch(id: str) -> str:
    return f"qc:batch:{id}"


def batches(tenant: str) -> str:
    return f"qc:batches:{tenant}"


def response(id: str) -> str:
    return f"qc:response:{id}"


def battle(id: str) -> str:
    return f"qc:{{arena}}:battle:{id}"


def line(id: str) -> str:
    return f"qc:{{arena}}:line:{id}"


def background(host: str) -> str:
    return f"qc:background:{host}"


LINES = "qc:{arena}:lines"
WRITER = "qc:{arena}:writer"
VOTES = "qc:{arena}:votes"
LEADERBOARD = "qc:{arena}:leaderboard"
RATED = "qc:{arena}:rated"
MODELS = "qc:models"
WORKERS = "qc:workers"
API_KEYS = "qc:keys"
FILES = "qc:files"
BATCHES = "qc:batches"
OPEN_BATCHES = "qc:open_batches"
BACKGROUND = "qc:background"
PAGE_SECRET = "qc:page:secret"
