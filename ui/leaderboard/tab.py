"""The Leaderboard tab: components and wiring. How its parts look is told in `drawing` and `heatmap`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from queuechat.leaderboard.results import Leaderboard, Table
from ui.desk import Desk
from ui.leaderboard import drawing
from ui.leaderboard.heatmap import Kind, heatmap
from ui.leaderboard.shelf import Shelf

_AT_ONCE = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""
    _LeaderboardTab(Shelf(desk.client.bus)).wire(blocks, clock)


class _LeaderboardTab:
    """The tab's components, and the handlers that Gradio calls."""

    def __init__(self, shelf: Shelf):
        self._shelf = shelf
        self.seen = gr.State(0.0)  # when what the page shows was made
        with gr.Column(elem_id="qc-leaderboard"):
            _html(drawing.TITLE, "qc-lb-title")
            with gr.Row(elem_id="qc-lb-tools"):
                self.category = gr.Dropdown(
                    [], label="Category", show_label=False, container=False, elem_id="qc-lb-category", visible=False
                )
                self.style = gr.Checkbox(
                    label="Style control", container=False, elem_id="qc-lb-style", visible=False, interactive=True
                )
            self.top = _html(drawing.empty(), "qc-lb-top")
            self.heading = _html("<h3>Who beats whom</h3>", "qc-lb-heading", visible=False)
            self.kind = gr.Radio(
                [kind.value for kind in Kind],
                value=Kind.PREDICTED.value,
                label="Cells",
                show_label=False,
                container=False,
                elem_id="qc-lb-kind",
                visible=False,
            )
            self.heat = _html("", "qc-lb-heatmap")
            self.days = _html("", "qc-lb-votes")

    def wire(self, blocks: gr.Blocks, clock: gr.Timer) -> None:
        """Every event of the tab."""
        chosen = [self.category, self.style, self.kind]
        parts = [self.top, self.heat, self.days]
        controls = [self.heading, self.seen, *chosen]
        gr.on([clock.tick, blocks.load], self.refresh, [self.seen, *chosen], [*parts, *controls], **_AT_ONCE)
        gr.on([one.input for one in chosen], self.draw, chosen, parts, **_AT_ONCE)

    # -- handlers --------------------------------------------------------------------------------------------------

    async def refresh(self, seen: float, category: str | None, style: bool, kind: str) -> Any:
        """A page is only touched when there is a new leaderboard."""
        made = await self._shelf.look()
        if (made.made_at if made else 0.0) == seen:
            return [gr.skip()] * 8
        if made is None or not _has_votes(made):
            hidden = gr.update(visible=False)
            return [*_nothing(), hidden, made.made_at if made else 0.0, hidden, hidden, hidden]
        table = _table(made, category)
        choices = [(one.title, one.category) for one in made.tables]
        can_style = any(one.styled for one in made.tables)
        return [
            *_drawn(made, table, style, kind),
            gr.update(visible=True),
            made.made_at,
            gr.update(choices=choices, value=table.category, visible=len(choices) > 1),
            gr.update(visible=can_style),
            gr.update(visible=True),
        ]

    async def draw(self, category: str | None, style: bool, kind: str) -> Any:
        """What was chosen."""
        made = await self._shelf.look()
        return _drawn(made, _table(made, category), style, kind) if made and _has_votes(made) else _nothing()


def _html(value: str, id: str, **more: Any) -> gr.HTML:
    return gr.HTML(value, elem_id=id, container=False, padding=False, **more)


def _nothing() -> list[str]:
    return [drawing.empty(), "", ""]


def _has_votes(made: Leaderboard) -> bool:
    return any(table.votes for table in made.tables)


def _table(made: Leaderboard, category: str | None) -> Table:
    return next((one for one in made.tables if one.category == category), made.tables[0])


def _drawn(made: Leaderboard, table: Table, style: bool, kind: str) -> list[str]:
    """The HTML of all parts."""
    styled = table.styled if style else None
    standings = styled.standings if styled else table.standings
    top = [drawing.head(made, table, standings, styled.votes if styled else table.votes)]
    if style and not styled:
        top.append("<p class='qc-note'>Nothing tells of the style of these answers: style is not controlled for.</p>")
    top.append(drawing.standings_table(standings))
    if plot := drawing.whiskers(standings):
        top.append(f"<h3>Scores and their 95 % intervals</h3>{plot}")
    if styled:
        top.append(f"<h3>Style</h3>{drawing.effects(styled.effects)}")
    days = f"<h3>Votes over time</h3>{drawing.days(made.days)}" if made.days else ""
    return ["".join(top), heatmap(table, standings, Kind(kind)), days]
