// AI SDK: `createOpenAICompatible` and `createOpenAI(...).chat` for chat, `createOpenAI(...)` itself for responses.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, Output, streamText, tool } from "ai";
import { z } from "zod";
import { caught, check, of, run, site, untilIdle, whileBusy } from "./report.mjs";

const compatible = (apiKey = site.key) =>
  createOpenAICompatible({ name: "queuechat", baseURL: site.v1, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const openai = createOpenAI({ baseURL: site.v1, apiKey: site.key });
const chats = () => [compatible()(site.model), openai.chat(site.model)];
const prompt = "What is the capital of France?";
const few = { prompt, maxOutputTokens: 40, temperature: 0 };
const City = z.object({ name: z.enum(["Paris", "Rome"]), big: z.boolean() });
const weather = tool({
  description: "The weather of a city.",
  inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
});
const RESPONSES = "/v1/responses";

async function answered(models) {
  const texts = [];
  for (const model of models) texts.push((await generateText({ model, ...few })).text);
  return check(texts.every((text) => text.includes("Paris")), texts);
}

async function streamed(models) {
  const seen = [];
  for (const model of models) {
    const result = streamText({ model, ...few, onError: () => {} });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    const [reason, usage] = [await result.finishReason, await result.usage];
    check(text.includes("Paris") && reason === "stop" && usage.outputTokens > 0, { text, reason, usage });
    seen.push(`${reason} ${usage.outputTokens}`);
  }
  return seen.join();
}

async function calledByName(models) {
  const seen = [];
  for (const model of models) {
    const toolChoice = { type: "tool", toolName: "weather" };
    const result = streamText({ model, ...few, tools: { weather }, toolChoice, onError: () => {} });
    const [call] = await result.toolCalls;
    check(["Paris", "Rome"].includes(call?.input.city), call ?? "no call");
    seen.push(call.input.city);
  }
  return seen.join();
}

async function ofOneType(models) {
  const seen = [];
  for (const model of models) {
    const { output } = await generateText({ model, ...few, output: Output.object({ schema: City }) });
    check(City.safeParse(output).success, output);
    seen.push(output.name);
  }
  return seen.join();
}

of("chat", () => answered(chats()));
of("stream", () => streamed(chats()));
of("tool_named", () => calledByName(chats()));

of("stop", async () => {
  const { text, finishReason } = await generateText({ model: compatible()(site.model), ...few, stopSequences: ["Paris"] });
  return check(!text.includes("Paris") && finishReason === "stop", text);
});

of("logprobs", async () => {
  const providerOptions = { openai: { logprobs: 2 } };
  const { providerMetadata } = await generateText({ model: openai.chat(site.model), ...few, providerOptions });
  return check(providerMetadata.openai.logprobs?.[0].top_logprobs.length === 2, providerMetadata.openai);
});

of("tool_auto", async () => {
  const { text, toolCalls } = await generateText({ model: compatible()(site.model), ...few, tools: { weather } });
  return check(text || toolCalls.length, text || toolCalls);
});

of("structured", () => ofOneType(chats()));

of("completions", async () => {
  const model = compatible().completionModel(site.model);
  const { text } = await generateText({ model, ...few });
  return check(text, text);
});

of("embeddings", async () => {
  const values = ["a cat", "a kitten"];
  const models = [compatible().embeddingModel(site.model), openai.embedding(site.model)];
  const sizes = [];
  for (const model of models) sizes.push((await embedMany({ model, values })).embeddings.map((one) => one.length));
  return check(sizes.every((pair) => pair.length === 2), sizes);
});

of("responses", () => answered([openai(site.model)]), RESPONSES);
of("responses_stream", () => streamed([openai(site.model)]), RESPONSES);
of("responses_tools", () => calledByName([openai(site.model)]), RESPONSES);
of("responses_structured", () => ofOneType([openai(site.model)]), RESPONSES);

of("responses_chain", async () => {
  const model = openai(site.model);
  const first = await generateText({ model, ...few });
  const providerOptions = { openai: { previousResponseId: first.providerMetadata.openai.responseId } };
  const then = await generateText({ model, ...few, prompt: "And of Italy?", providerOptions });
  return check(then.usage.inputTokens > first.usage.totalTokens, then.text);
}, RESPONSES);

function refused(status, fields) {
  const call = () => generateText({ model: compatible()(site.model), ...few, maxRetries: 0, ...fields });
  return caught((error) => APICallError.isInstance(error) && error.statusCode === status, call);
}

of("wrong_key", async () => (await refused(401, { model: compatible("sk-wrong")(site.model) })).message);
of("no_such_model", async () => (await refused(404, { model: compatible()("nobody") })).message);
of("bad_value", async () => (await refused(400, { temperature: 9 })).message);

of("retries", async () => {
  const model = compatible(site.frugal)(site.model);
  const { text } = await whileBusy(() => generateText({ model, ...few, maxOutputTokens: 3 }));
  return check(text, "answered after a 429");
});

of("cancel", async () => {
  const left = new AbortController();
  const model = compatible()(site.slow);
  const result = streamText({ model, prompt, maxOutputTokens: 2000, abortSignal: left.signal, onError: () => {} });
  for await (const _ of result.textStream) left.abort();
  return untilIdle();
});

await run();
