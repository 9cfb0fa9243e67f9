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
    Client("langchain", "langchain-openai", "langchain_python.py", ("langchain-openai==1.7.3", "openai==3.54.0")),
    Client(
        "llamaindex",
        "LlamaIndex",
        "llamaindex_python.py",
        ("llama-index-llms-openai-like==0.8.1", "llama-index-embeddings-openai-like==0.4.0", "openai==2.54.0"),
    ),
    Client("litellm", "litellm", "litellm_python.py", ("litellm==1.106.2", "mcp==2.3.0", "openai==2.54.0")),
    Client("openai-node", "openai-node", "openai_node.mjs", ("openai@6.49.0", "zod@4.6.7")),
    Client(
        "ai-sdk",
        "AI SDK",
        "ai_sdk.mjs",
        ("ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.87", "zod@4.6.7"),
    ),
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
        "responses_resumed": "stream left, read on",
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
        "context": "too long a prompt, the client's class",
        "retries": "429 is tried again",
        "cancel": "leaving cancels the job",
    },
}
