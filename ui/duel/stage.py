"""The components of a duel and their wiring. What happens is told in `play`; what is shown, in `scene`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from queuechat.battles import Choice
from ui.duel.scene import LETTERS, Scene
from ui.talk import view
from ui.talk.composer import composer

VOTES = {
    Choice.LEFT: "A is better",
    Choice.RIGHT: "B is better",
    Choice.TIE: "Tie",
    Choice.BOTH_BAD: "Both are bad",
}
Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """What a tab says of itself. `name` is part of the ids of its components."""

    name: str
    greeting: str
    examples: Sequence[str]
    fresh: str  #: the button that begins anew


class Stage:
    """Two chatbots, the votes, and the composer below them. `heads` builds what stands over each side."""

    def __init__(self, words: Words, heads: Callable[[int], gr.Component] | None = None):
        self.words = words
        # Fixed key and secret: with Gradio's random ones a restarted server could read no browser's duel.
        self.kept = gr.BrowserState(None, storage_key=f"queuechat.{words.name}", secret="queuechat")
        with gr.Column(elem_id=f"qc-{words.name}", elem_classes="qc-duel"):
            with gr.Row(elem_classes="qc-sides"):
                sides = [self._build_side(side, heads or self._head) for side in (0, 1)]
            with gr.Column(elem_classes="qc-welcome") as self.welcome:
                gr.HTML(words.greeting, container=False, padding=False)
                with gr.Row(elem_classes="qc-examples"):
                    self.examples = [gr.Button(text, elem_classes="qc-example") for text in words.examples]
            self._build_composer()
        self.heads, self.bots, self.retries = zip(*sides, strict=True)

    def _head(self, side: int) -> gr.Component:
        return gr.HTML("", elem_id=f"qc-{self.words.name}-head-{LETTERS[side].lower()}", container=False, padding=False)

    def _build_side(self, side: int, head: Callable[[int], gr.Component]) -> tuple[Any, Any, Any]:
        letter = LETTERS[side]
        with gr.Column(elem_classes="qc-side", elem_id=f"qc-{self.words.name}-{letter.lower()}"):
            above = head(side)
            bot = gr.Chatbot(
                elem_id=f"qc-{self.words.name}-bot-{letter.lower()}",
                elem_classes="qc-bot",
                visible=False,
                label=f"Model {letter}",
                show_label=False,
                container=False,
                height="100%",
                layout="bubble",
                buttons=["copy"],
                latex_delimiters=view.LATEX,
                feedback_options=None,
                allow_file_downloads=False,
            )
            retry = gr.Button(f"Retry {letter}", elem_classes="qc-retry", size="sm", visible=False)
        return above, bot, retry

    def _build_composer(self) -> None:
        name = self.words.name
        with gr.Column(elem_classes="qc-composer"):
            self.standing = gr.HTML("", elem_classes="qc-hint-box", container=False, padding=False)
            self.hint = gr.HTML(
                "", elem_id=f"qc-{name}-hint", elem_classes="qc-hint-box", container=False, padding=False
            )
            self.verdict = gr.HTML(
                "", elem_id=f"qc-{name}-verdict", elem_classes="qc-verdicts", container=False, padding=False
            )
            with gr.Row(elem_classes="qc-votes", visible=False) as self.ballot:
                self.votes = {
                    choice: gr.Button(
                        text,
                        elem_id=f"qc-{name}-{choice.value}",
                        elem_classes=["qc-vote", f"qc-{choice.value}"],
                        interactive=False,
                    )
                    for choice, text in VOTES.items()
                }
            self.box = composer(f"qc-{name}-box", label="Message to both", placeholder="Ask both")
            with gr.Row(elem_classes="qc-tools"):
                self.fresh, self.regenerate, self.share = (
                    gr.Button(
                        text,
                        elem_id=f"qc-{name}-{kind}",
                        elem_classes=["qc-plain", f"qc-{kind}"],
                        size="sm",
                        visible=False,
                    )
                    for kind, text in (("fresh", self.words.fresh), ("regenerate", "Regenerate"), ("share", "Share"))
                )

    @property
    def shown(self) -> list[Any]:
        """Every component that a handler may change."""
        sides = [*self.heads, *self.bots, *self.retries]
        rest = [self.kept, self.welcome, self.hint, self.verdict, self.ballot, *self.votes.values(), self.box]
        return [*sides, *rest, self.fresh, self.regenerate, self.share]

    # -- a scene as updates of them --------------------------------------------------------------------------------

    def talking(self, scene: Scene) -> Updates:
        """What changes while answers are being written."""
        return dict(zip(self.bots, scene.bubbles, strict=True))

    def whole(self, scene: Scene, hint: str = "") -> Updates:
        """Everything that follows from a scene, but what was typed."""
        rest = scene.begun and not scene.busy
        looks = ["qc-bot", "busy"] if scene.busy else ["qc-bot"]
        return {
            **{
                bot: gr.update(value=bubbles, visible=scene.begun, elem_classes=looks)
                for bot, bubbles in zip(self.bots, scene.bubbles, strict=True)
            },
            **{button: gr.update(visible=on) for button, on in zip(self.retries, scene.retries, strict=True)},
            **{button: gr.update(interactive=scene.votable) for button in self.votes.values()},
            self.welcome: gr.update(visible=not scene.begun),
            self.hint: view.hint(hint),
            self.verdict: scene.verdict,
            self.ballot: gr.update(visible=scene.begun and not scene.voted),
            self.box: gr.update(submit_btn=not scene.busy, stop_btn=scene.busy),
            self.fresh: gr.update(visible=scene.begun, variant="primary" if scene.voted else "secondary"),
            self.regenerate: gr.update(visible=scene.begun and not scene.voted, interactive=rest),
            self.share: gr.update(visible=scene.begun, interactive=rest),
        }
