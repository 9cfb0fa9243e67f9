"""The page: header, tabs, theme. A tab is a package whose module `tab` has `build(desk, blocks, clock)`; TABS names it.

Each file in `assets` is part of every page: style sheets and scripts, in the order of their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import gradio as gr

from ui.about import tab as about
from ui.arena import tab as arena
from ui.beside import tab as beside
from ui.chat import tab as chat
from ui.desk import Desk
from ui.gate import corner
from ui.leaderboard import tab as leaderboard
from ui.queues import tab as queues
from ui.talk import view
from ui.theme import calm
from ui.uploads import STALE_S


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: `?<slug>` in the address opens it, `build` puts its components into the Blocks that are being built."""

    slug: str
    label: str
    build: Callable[[Desk, gr.Blocks, gr.Timer], None]


#: In the order of the page; the first is what the bare address opens. `frame.js` knows "direct": `?model=` opens it.
TABS: list[Tab] = [
    Tab("direct", "Chat", chat.build),
    Tab("arena", "Arena", arena.build),
    Tab("compare", "Side by side", beside.build),
    Tab("leaderboard", "Leaderboard", leaderboard.build),
    Tab("queues", "Queues", queues.build),
    Tab("about", "About", about.build),
]

_REFRESH_S = 2.0
_STALE = (STALE_S // 4, STALE_S)


def build_app(desk: Desk) -> gr.Blocks:
    """The Blocks over these collaborators, to be mounted on the loop that they live on."""
    with gr.Blocks(
        title="queuechat", analytics_enabled=False, fill_height=True, fill_width=True, delete_cache=_STALE
    ) as blocks:
        clock = gr.Timer(_REFRESH_S)
        with gr.Row(elem_id="qc-header"):
            gr.HTML(_asset("brand.html"), elem_id="qc-brand", container=False, padding=False)
            status = gr.HTML(_status(desk), elem_id="qc-status", container=False, padding=False)
            corner.build(blocks)
        _build_tabs(desk, blocks, clock)
        for event in (clock.tick, blocks.load):
            event(lambda: _status(desk), outputs=status, queue=False, show_progress="hidden", api_visibility="private")
        blocks.unload(_leaver(desk))
    blocks.queue(default_concurrency_limit=None)
    return blocks


def mount_options(upload_limit: int) -> dict[str, object]:
    """What `gr.mount_gradio_app` is to be told: our looks, and that nothing goes in or out but this page and files of
    at most `upload_limit` bytes that are attached to a question."""
    return {
        "theme": calm(),
        "css": _assets(".css"),
        "head": f"<script>{_assets('.js')}</script>",
        "footer_links": [],
        "run_history": False,
        "allowed_paths": [],
        "max_file_size": upload_limit,
        "show_error": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
    }


def _build_tabs(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    # "wrap": a phone scrolls its tabs sideways (frame.css); Gradio's own menu would hide some of them.
    with gr.Tabs(elem_id="qc-tabs", overflow_behavior="wrap"):
        for tab in TABS:
            with gr.Tab(tab.label, id=tab.slug, elem_id=f"qc-tab-{tab.slug}"):
                tab.build(desk, blocks, clock)


def _status(desk: Desk) -> str:
    return view.status(desk.board.status, good=bool(desk.board.models) and not desk.board.away)


def _leaver(desk: Desk) -> Callable[[gr.Request], None]:
    def leave(request: gr.Request) -> None:
        desk.turns.stop(request.session_hash)

    return leave


def _asset(name: str) -> str:
    return files("ui").joinpath("assets", name).read_text()


def _assets(kind: str) -> str:
    names = sorted(file.name for file in files("ui").joinpath("assets").iterdir() if file.name.endswith(kind))
    return "\n".join(_asset(name) for name in names)
