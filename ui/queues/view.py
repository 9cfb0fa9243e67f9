"""What the Queues tab shows, as HTML. Every name is somebody else's, so all of them are escaped."""

from __future__ import annotations

from html import escape

from queuechat.letters import Letter
from queuechat.roster import capabilities
from queuechat.watching import HISTORY_S, Hand, Moment, Sight, Watch, spread
from ui import wording
from ui.queues.spark import spark

_POINTS = 100
_START = "queuechat worker --model smollm2"


def page(watch: Watch, now: float, *, away: bool) -> str:
    """All models, or what to do where there is none; `now` in seconds since the epoch."""
    parts = [_line("qc-q-note", f"{wording.NO_REDIS} What is below was seen last.")] if away else []
    hands = {hand.card.id: hand for hand in watch.workers}
    parts += [_card(sight, hands, now) for sight in watch.models]
    if not watch.models and not away:
        parts.append(_nothing())
    return f'<div class="qc-page qc-queues">{_head()}{"".join(parts)}</div>'


def _head() -> str:
    said = (
        "Live, read only. To cancel a job or drain a worker, ask whoever runs this server: <code>queuechat top</code>."
    )
    return f"<header><h1>Queues</h1><p>{said}</p></header>"


def _nothing() -> str:
    return (
        '<div class="qc-q-nothing"><h2>Nothing is served yet</h2>'
        f"<p>Start a worker, and its model appears here:</p><pre>{_START}</pre></div>"
    )


def _card(sight: Sight, hands: dict[str, Hand], now: float) -> str:
    workers = [hands[worker.id] for worker in sight.model.workers if worker.id in hands]
    body = _numbers(sight) + _sparks(sight) + _workers(sight, workers) + _letters(sight, now)
    return f'<section class="qc-q-card" data-model="{escape(sight.name)}">{_title(sight)}{body}</section>'


def _title(sight: Sight) -> str:
    card, status = sight.model.card, sight.model.status
    words = " · ".join(filter(None, [card.engine, card.quantization, *capabilities(card)]))
    state = {"no_worker": "no worker"}.get(status, status)
    return (
        f'<div class="qc-q-title"><h2>{escape(sight.name)}</h2><span class="qc-q-kind">{escape(words)}</span>'
        f'<span class="qc-q-state {"good" if status == "ready" else "bad"}"><i></i>{escape(state)}</span></div>'
    )


def _numbers(sight: Sight) -> str:
    depth, now = sight.depth, sight.now
    cells = [
        ("Waiting", f"{depth.waiting:,}"),
        ("Running", f"{depth.running:,}"),
        ("Batch", f"{depth.bulk_waiting:,}"),
        ("Oldest", wording.seconds(depth.oldest_ms / 1000) if depth.waiting else "–"),
        ("Arrive", _rate(now.came_per_s)),
        ("Served", _rate(sight.ended_per_s)),
        ("Your wait", _wait(sight)),
    ]
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in cells)}</dl>"


def _wait(sight: Sight) -> str:
    if not sight.model.live:
        return "–"
    return "?" if sight.depth.eta_s is None else wording.seconds(sight.depth.eta_s) if sight.depth.eta_s else "none"


def _rate(per_s: float | None) -> str:
    """Jobs a second, or a minute where that is easier to read."""
    if per_s is None:
        return "?"
    if per_s == 0 or per_s >= 1:
        return f"{per_s:.1f}/s" if per_s else "0/s"
    return f"{per_s * 60:.0f}/min"


def _sparks(sight: Sight) -> str:
    def line(name: str, value: str, points: list[float | None]) -> str:
        return f"<figure><figcaption>{name} <b>{value}</b></figcaption>{spark(points, name)}</figure>"

    def speed(moment: Moment) -> float:
        return moment.tokens_per_s

    def waiting(moment: Moment) -> float:
        return float(moment.waiting)

    return (
        '<div class="qc-q-sparks">'
        + line("tok/s", f"{sight.now.tokens_per_s:,.0f}", spread(sight.past, speed, HISTORY_S, _POINTS))
        + line("waiting", f"{sight.depth.waiting:,}", spread(sight.past, waiting, HISTORY_S, _POINTS))
        + "</div>"
    )


def _workers(sight: Sight, workers: list[Hand]) -> str:
    if not workers:
        return _line("qc-q-note", "No worker serves it now; what waits is kept, and goes on when one comes.")
    return f'<ul class="qc-q-workers">{"".join(map(_worker, workers))}</ul>'


def _worker(hand: Hand) -> str:
    card = hand.card
    share = min(card.running / card.capacity, 1) if card.capacity else 0.0
    where = " · ".join(filter(None, [card.device, card.quantization, card.host]))
    odd: list[str] = [card.state] if card.state != "ready" else []
    odd += [wording.count(card.restarts, "restart")] if card.restarts else []
    return (
        f'<li><span class="id">{escape(card.id)}</span><span class="where">{escape(where)}</span>'
        f'<span class="bar" role="img" aria-label="{card.running} of {card.capacity} places taken">'
        f'<i style="width:{share:.0%}"></i></span>'
        f'<span class="load">{card.running}/{card.capacity}</span>'
        f'<span class="speed">{card.tokens_per_s:,.0f} tok/s</span>'
        f'<span class="odd">{escape(" · ".join(odd))}</span></li>'
    )


def _letters(sight: Sight, now: float) -> str:
    if not sight.depth.dead:
        return ""
    rows = "".join(f"<li><code>{escape(_short(one))}</code> {escape(_why(one, now))}</li>" for one in sight.letters)
    more = sight.depth.dead - len(sight.letters)
    rows += f"<li>and {more:,} more</li>" if more > 0 else ""
    return f'<div class="qc-q-dead"><h3>{wording.count(sight.depth.dead, "dead letter")}</h3><ul>{rows}</ul></div>'


def _short(letter: Letter) -> str:
    # Who knows a whole id may read the answer; the first part is enough to find it in `queuechat dead list`.
    return f"{letter.id[:8]}…"


def _why(letter: Letter, now: float) -> str:
    crashes = wording.count(letter.crashes, "worker") if letter.crashes else "too many workers"
    after = f"after {wording.count(letter.tokens, 'token')}" if letter.tokens else "before its first token"
    return f"{crashes} died of it in a row, {after}, the last was {letter.worker} · {wording.ago(now - letter.at)}"


def _line(kind: str, text: str) -> str:
    return f'<p class="{kind}">{escape(text)}</p>'
