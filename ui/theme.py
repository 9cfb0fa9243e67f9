"""The page's colours and fonts: ink on paper by day, the same calm by night. Nothing is fetched: system fonts only."""

from __future__ import annotations

from typing import Any

import gradio as gr

_TEAL = gr.themes.Color(
    name="teal",
    c50="#effaf8", c100="#d5f1ec", c200="#aee2da", c300="#7bccc2", c400="#4aafa5",
    c500="#2c9389", c600="#1f766f", c700="#1c5f5a", c800="#1a4c49", c900="#193f3d", c950="#0a2524",
)  # fmt: skip
_STONE = gr.themes.Color(
    name="stone",
    c50="#faf9f7", c100="#f3f2ee", c200="#e7e4de", c300="#d5d1c9", c400="#a8a39a",
    c500="#79746b", c600="#5a564f", c700="#43403b", c800="#282623", c900="#1d1b19", c950="#151412",
)  # fmt: skip
_SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Inter", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]


def calm() -> Any:
    """The theme that `gr.mount_gradio_app` is given."""
    base = gr.themes.Base(
        primary_hue=_TEAL,
        secondary_hue=_TEAL,
        neutral_hue=_STONE,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.Font(name) for name in _SANS],
        font_mono=[gr.themes.Font(name) for name in _MONO],
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_700",
        input_border_width="1px",
        input_shadow_focus="none",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
    )
