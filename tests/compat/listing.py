"""The clients, what each needs at which version, and the features that they are tried for. The one place with pins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Client:
    """`name` is its folder and its name on the command line, `program` a file in clients/."""

    name: str
    title: str
    program: str
    packages: tuple[str, ...]

    @property
    def is_node(self) -> bool:
        return self.program.endswith(".mjs")


CLIENTS = (
    Client("openai", "openai-python 3", "openai_python.py", ("openai==3.54.0",)),
    Client("openai-1", "openai-python 1", "openai_python.py", ("openai==1.109.1",)),
    Client("anthropic", "anthropic", "anthropic_python.py", ("anthropic==2.12.0",)),
    Client("ollama", "ollama-python", "ollama_python.py", ("ollama==0.6.3",)),
    Client("llm", "llm", "llm_command.py", ("llm==0.36",)),
    Client("agents", "OpenAI Agents SDK", "agents_python.py", ("openai-agents==0.24.0", "openai==3.54.0")),
)

FEATURES = {
    "Chat": {
        "chat": "whole answer",
        "stream": "stream, usage last",
        "n": "n = 2",
        "stop": "stop string",
        "logprobs": "log probabilities",
        "tool_named": "tool, by name",
        "tool_auto": "tool, auto",
        "structured": "structured output",
    },
    "More of the OpenAI API": {
        "models": "models",
        "completions": "completions",
        "embeddings": "embeddings",
        "batches": "files and batches",
    },
    "Responses": {
        "responses": "whole answer",
        "responses_stream": "stream",
        "responses_tools": "tools",
        "responses_structured": "structured output",
        "responses_background": "background, retrieve",
        "responses_chain": "previous_response_id",
    },
    "Anthropic messages": {
        "messages": "whole answer",
        "messages_stream": "stream",
        "messages_stop": "stop sequence",
        "messages_tools": "tools",
        "messages_structured": "structured output",
        "messages_count": "count_tokens",
    },
    "Ollama": {
        "ollama_tags": "tags, show",
        "ollama_chat": "chat",
        "ollama_stream": "chat stream",
        "ollama_tools": "tools",
        "ollama_structured": "structured output",
        "ollama_generate": "generate",
        "ollama_embed": "embed",
    },
    "When something goes wrong": {
        "wrong_key": "401, the client's class",
        "no_such_model": "404, the client's class",
        "bad_value": "400, the client's class",
        "retries": "429 is tried again",
        "cancel": "leaving cancels the job",
    },
}
