"""What the authors of the named formats document: strings of model cards, READMEs and their own code."""

from __future__ import annotations

from typing import Any

LLAMA = {"bos_token": "<s>", "eos_token": "</s>"}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
NEOX = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
DEEPSEEK = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
T5 = {"eos_token": "</s>"}


def said(*turns: str, system: str = "") -> list[dict[str, Any]]:
    """Turns of a user and an assistant."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *messages] if system else messages


HELLO = said("Hello!")
TALK = said("Hi", "Hello", "Bye", system="Be brief.")
CURIOUS = (
    "A chat between a curious {} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {}'s questions."
)
TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
CODER = (
    "You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by DeepSeek Company, and you "
    "only answer questions related to computer science. For politically sensitive questions, security and privacy "
    "issues, and other non-computer science questions, you will refuse to answer."
)
STABLE = """<|SYSTEM|># StableLM Tuned (Alpha version)
- StableLM is a helpful and harmless open-source AI language model developed by StabilityAI.
- StableLM is excited to be able to help the user, but will refuse to do anything that could be considered harmful to \
the user.
- StableLM is more than just an information source, StableLM is also able to write poetry, short stories, and make \
jokes.
- StableLM will refuse to participate in anything that could harm a human.
"""
BAIZE = (
    "The following is a conversation between a human and an AI assistant named Baize (named after a mythical "
    "creature in Chinese folklore). Baize is an open-source AI assistant developed by UCSD and Sun Yat-Sen "
    "University. The human and the AI assistant take turns chatting. Human statements start with [|Human|] and "
    "AI assistant statements start with [|AI|]. The AI assistant always provides responses in as much detail "
    "as possible, and in Markdown format. The AI assistant always declines to engage with topics, questions "
    "and instructions related to unethical, controversial, or sensitive issues. Complete the transcript in "
    "exactly that format.\n[|Human|]Hello!\n[|AI|]Hi!\n"
)

#: Name, special tokens, messages and the prompt; each template names its source in its first line.
DOCUMENTED: list[tuple[str, dict[str, str], list[dict[str, Any]], str]] = [
    ("chatml", {}, HELLO, "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"),
    (
        "chatml",
        {},
        TALK,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("llama2", LLAMA, HELLO, "<s>[INST] Hello! [/INST]"),
    (
        "llama2",
        LLAMA,
        TALK,
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
    ),
    (
        "llama3",
        LLAMA3,
        TALK,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("vicuna", LLAMA, HELLO, f"<s>{CURIOUS.format('user', 'user')} USER: Hello! ASSISTANT:"),
    (
        "vicuna",
        LLAMA,
        said("Hello!", "Hello!", "How are you?"),
        f"<s>{CURIOUS.format('user', 'user')} USER: Hello! ASSISTANT: Hello!</s>USER: How are you? ASSISTANT:",
    ),
    ("vicuna", LLAMA, TALK, "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT:"),
    (
        "vicuna_v0",
        LLAMA,
        said("Hello!", "Hello!", "How are you?"),
        f"<s>{CURIOUS.format('human', 'human')}\n### Human: Hello!\n### Assistant: Hello!\n"
        "### Human: How are you?\n### Assistant:",
    ),
    ("alpaca", LLAMA, HELLO, f"<s>{TASK}\n\n### Instruction:\nHello!\n\n### Response:"),
    (
        "zephyr",
        LLAMA,
        TALK,
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
    ),
    ("mistral", LLAMA, HELLO, "<s>[INST] Hello![/INST]"),
    ("mistral", LLAMA, TALK, "<s>[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nBye[/INST]"),
    (
        "mistral_v1",
        LLAMA,
        said("Instruction", "Model answer", "Follow-up instruction"),
        "<s>[INST] Instruction [/INST] Model answer</s>[INST] Follow-up instruction [/INST]",
    ),
    ("mistral_v1", LLAMA, TALK, "<s>[INST] Be brief.\n\nHi [/INST] Hello</s>[INST] Bye [/INST]"),
    (
        "koala",
        LLAMA,
        said("Hello!", "Hi! How can I help you?", "What is the largest animal on earth?"),
        "<s>BEGINNING OF CONVERSATION: USER: Hello! GPT:Hi! How can I help you?</s>"
        "USER: What is the largest animal on earth? GPT:",
    ),
    ("dolly", NEOX, HELLO, f"{TASK}\n\n### Instruction:\nHello!\n\n### Response:\n"),
    (
        "dolly",
        NEOX,
        TALK,
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello\n\n### End\n\n"
        "### Instruction:\nBye\n\n### Response:\n",
    ),
    (
        "oasst",
        NEOX,
        said("What is a meme, and what's the history behind this word?"),
        "<|prompter|>What is a meme, and what's the history behind this word?<|endoftext|><|assistant|>",
    ),
    (
        "oasst",
        LLAMA,
        TALK,
        "Be brief.<|prompter|>Hi</s><|assistant|>Hello</s><|prompter|>Bye</s><|assistant|>",
    ),
    ("stablelm", NEOX, said("What's your mood today?"), f"{STABLE}<|USER|>What's your mood today?<|ASSISTANT|>"),
    ("stablelm", NEOX, TALK, "<|SYSTEM|>Be brief.<|USER|>Hi<|ASSISTANT|>Hello<|USER|>Bye<|ASSISTANT|>"),
    ("baize", LLAMA, HELLO, f"<s>{BAIZE}[|Human|]Hello!\n[|AI|]"),
    ("falcon", NEOX, TALK, "Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"),
    (
        "falcon_chat",
        NEOX,
        said(
            "This is the user input",
            "This is what the model generates",
            "This might be a second turn input",
            system="Add an optional system prompt here",
        ),
        "System: Add an optional system prompt here\nUser: This is the user input\n"
        "Falcon: This is what the model generates\nUser: This might be a second turn input\nFalcon:",
    ),
    (
        "openchat",
        LLAMA,
        said("Hello", "Hi", "How are you today?"),
        "<s>GPT4 Correct User: Hello<|end_of_turn|>GPT4 Correct Assistant: Hi<|end_of_turn|>"
        "GPT4 Correct User: How are you today?<|end_of_turn|>GPT4 Correct Assistant:",
    ),
    (
        "deepseek_coder",
        DEEPSEEK,
        said("['content']", "['content']", "['content']"),
        f"<｜begin▁of▁sentence｜>{CODER}\n### Instruction:\n['content']\n### Response:\n['content']\n<|EOT|>\n"
        "### Instruction:\n['content']\n### Response:\n",
    ),
    (
        "deepseek",
        DEEPSEEK,
        said("Hi", "Hello", "Bye"),
        "<｜begin▁of▁sentence｜>User: Hi\n\nAssistant: Hello<｜end▁of▁sentence｜>User: Bye\n\nAssistant:",
    ),
    (
        "phind",
        LLAMA,
        said("Implement a linked list in C++"),
        "<s>### System Prompt\nYou are an intelligent programming assistant.\n\n"
        "### User Message\nImplement a linked list in C++\n\n### Assistant\n",
    ),
    ("redpajama", NEOX, said("Who is Alan Turing?"), "<human>: Who is Alan Turing?\n<bot>:"),
    (
        "starchat",
        NEOX,
        said("How do I sort a list in Python?"),
        "<|system|>\n<|end|>\n<|user|>\nHow do I sort a list in Python?<|end|>\n<|assistant|>",
    ),
    (
        "starchat",
        NEOX,
        TALK,
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>",
    ),
    ("tulu", LLAMA, said("Your message here!"), "<s><|user|>\nYour message here!\n<|assistant|>\n"),
    (
        "tulu",
        LLAMA,
        TALK,
        "<s><|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello</s>\n<|user|>\nBye\n<|assistant|>\n",
    ),
    ("solar", LLAMA, said("Hello?"), "<s>### User:\nHello?\n\n### Assistant:\n"),
    ("metharme", LLAMA, said("Hello!", system="Enter RP mode."), "<s><|system|>Enter RP mode.<|user|>Hello!<|model|>"),
    ("stable_vicuna", LLAMA, said("your prompt here"), "<s>### Human: your prompt here\n### Assistant:"),
    ("h2ogpt", NEOX, said("How are you?"), "<|prompt|>How are you?<|endoftext|><|answer|>"),
    (
        "phi2",
        NEOX,
        said("Write a detailed analogy between mathematics and a lighthouse."),
        "Instruct: Write a detailed analogy between mathematics and a lighthouse.\nOutput:",
    ),
    (
        "baichuan",
        LLAMA,
        said("Hi", "Hello", "Bye"),
        "<reserved_102>Hi<reserved_103>Hello<reserved_102>Bye<reserved_103>",
    ),
    ("baichuan2", LLAMA, TALK, "Be brief.<reserved_106>Hi<reserved_107>Hello<reserved_106>Bye<reserved_107>"),
    ("chatglm2", {}, said("a", "b", "c"), "[gMASK]sop[Round 1]\n\n问：a\n\n答：b\n\n[Round 2]\n\n问：c\n\n答："),
    (
        "chatglm3",
        {},
        TALK,
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hi<|assistant|>\n Hello<|user|>\n Bye<|assistant|>",
    ),
    (
        "fastchat_t5",
        T5,
        HELLO,
        f"{CURIOUS.format('human', 'human')}\n### Human: Hello!\n### Assistant:</s>",
    ),
    ("plain", T5, said("Translate to German: My name is Arthur"), "Translate to German: My name is Arthur</s>"),
    ("plain", T5, TALK, "Be brief.\nHi\nHello\nBye</s>"),
]
