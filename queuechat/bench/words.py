"""Words that prompts are made of: short and common, so that most tokenizers have one token for each."""

from __future__ import annotations

_TEXT = """
able about above across after again air all alone along also always among and animal answer any area arm around art
ask away back ball bank base bear become been before behind best better between big bird black blood blue boat body
book both box boy bring brother build burn business call can car care carry case catch cause cell center change child
city class clean clear close cloud cold color come common copy corner could country course cover create cross cry cut
dark day dead deal deep door down draw dream dress drink drive drop dry during each early earth east easy eat edge
effect egg eight else end energy engine enough even evening ever every eye face fact fall family far farm fast father
"""
WORDS = tuple(_TEXT.split())
