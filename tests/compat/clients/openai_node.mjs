// openai-node: `baseURL` and `apiKey`.

import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { caught, check, of, run, site, untilIdle, WEATHER, whileBusy } from "./report.mjs";

const client = new OpenAI({ baseURL: site.v1, apiKey: site.key });
const as = (apiKey) => new OpenAI({ baseURL: site.v1, apiKey });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const tool = { type: "function", function: { name: "weather", parameters: WEATHER } };
const City = z.object({ name: z.enum(["Paris", "Rome"]), big: z.boolean() });
const ask = (fields = {}) => ({ model: site.model, messages, max_tokens: 40, temperature: 0, ...fields });
const respond = (fields = {}) => ({
  model: site.model,
  input: messages[0].content,
  max_output_tokens: 40,
  temperature: 0,
  ...fields,
});
const chat = client.chat.completions;
const RESPONSES = "/v1/responses";

of("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return check((await client.models.retrieve(site.model)).id === site.model && names.includes(site.model), names);
});

of("chat", async () => {
  const answer = await chat.create(ask());
  return check(answer.choices[0].message.content.includes("Paris") && answer.usage.completion_tokens, answer.choices[0]);
});

of("stream", async () => {
  const chunks = [];
  for await (const chunk of await chat.create(ask({ stream: true, stream_options: { include_usage: true } })))
    chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  return check(text.includes("Paris") && chunks.at(-1).usage, chunks.at(-1));
});

of("n", async () => {
  const { choices } = await chat.create(ask({ n: 2, temperature: 1, seed: 1 }));
  return check(choices.length === 2, choices.map((choice) => choice.message.content));
});

of("stop", async () => {
  const choice = (await chat.create(ask({ stop: ["Paris"] }))).choices[0];
  return check(choice.finish_reason === "stop" && !choice.message.content.includes("Paris"), choice);
});

of("logprobs", async () => {
  const first = (await chat.create(ask({ logprobs: true, top_logprobs: 2 }))).choices[0].logprobs.content[0];
  return check(first.top_logprobs.length === 2, first);
});

of("tool_named", async () => {
  const named = { type: "function", function: { name: "weather" } };
  const final = await chat.stream(ask({ tools: [tool], tool_choice: named })).finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  return check(["Paris", "Rome"].includes(JSON.parse(call.function.arguments).city), call);
});

of("tool_auto", async () => {
  const { message } = (await chat.create(ask({ tools: [tool], tool_choice: "auto" }))).choices[0];
  return check(message.content || message.tool_calls, message);
});

of("structured", async () => {
  const answer = await chat.parse(ask({ response_format: zodResponseFormat(City, "city") }));
  return check(City.safeParse(answer.choices[0].message.parsed).success, answer.choices[0].message.parsed);
});

of("completions", async () => {
  const body = { model: site.model, prompt: "One, two, three,", max_tokens: 10, temperature: 0 };
  const whole = (await client.completions.create(body)).choices[0].text;
  let text = "";
  for await (const piece of await client.completions.create({ ...body, stream: true }))
    text += piece.choices[0]?.text ?? "";
  return check(text.includes("four") && text === whole, text);
});

of("embeddings", async () => {
  const input = ["a cat", "a kitten"];
  const packed = (await client.embeddings.create({ model: site.model, input })).data;
  const plain = (await client.embeddings.create({ model: site.model, input, encoding_format: "float" })).data;
  const same = packed.every((row, k) => row.embedding.every((x, i) => Math.abs(x - plain[k].embedding[i]) < 1e-5));
  return check(same && packed.length === 2 && packed[0].embedding.length > 2, packed[0].embedding.length);
});

of("batches", async () => {
  const line = { custom_id: "0", method: "POST", url: "/v1/chat/completions", body: ask({ max_tokens: 5 }) };
  const file = await client.files.create({
    file: await toFile(Buffer.from(JSON.stringify(line)), "in.jsonl"),
    purpose: "batch",
  });
  let batch = await client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
    await new Promise((done) => setTimeout(done, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  const out = await (await client.files.content(batch.output_file_id)).text();
  return check(batch.status === "completed" && JSON.parse(out).custom_id === "0", batch.status);
});

of("responses", async () => {
  const answer = await client.responses.create(respond());
  return check(answer.output_text.includes("Paris"), answer.output_text);
}, RESPONSES);

of("responses_stream", async () => {
  const final = await client.responses.stream(respond()).finalResponse();
  return check(final.output_text.includes("Paris") && final.status === "completed", final.output_text);
}, RESPONSES);

of("responses_tools", async () => {
  const tools = [{ type: "function", name: "weather", parameters: WEATHER, strict: true }];
  const answer = await client.responses.create(
    respond({ tools, tool_choice: { type: "function", name: "weather" } }),
  );
  const call = answer.output.find((item) => item.type === "function_call");
  return check(["Paris", "Rome"].includes(JSON.parse(call.arguments).city), call);
}, RESPONSES);

of("responses_structured", async () => {
  const { output_parsed } = await client.responses.parse(respond({ text: { format: zodTextFormat(City, "city") } }));
  return check(City.safeParse(output_parsed).success, output_parsed);
}, RESPONSES);

of("responses_background", async () => {
  let answer = await client.responses.create(respond({ background: true, store: true }));
  const first = answer.status;
  while (["queued", "in_progress"].includes(answer.status)) {
    await new Promise((done) => setTimeout(done, 100));
    answer = await client.responses.retrieve(answer.id);
  }
  return check(answer.output_text.includes("Paris"), `${first}, then ${answer.status}`);
}, RESPONSES);

of("responses_chain", async () => {
  const first = await client.responses.create(respond({ store: true }));
  const then = await client.responses.create(respond({ input: "And of Italy?", previous_response_id: first.id }));
  return check(then.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens, then.output_text);
}, RESPONSES);

const refused = (kind, call) => caught((error) => error instanceof kind, call);

of("wrong_key", async () => {
  const error = await refused(OpenAI.AuthenticationError, () => as("sk-wrong").chat.completions.create(ask()));
  return check(error.code === "invalid_api_key", error.message);
});

of("no_such_model", async () => {
  const error = await refused(OpenAI.NotFoundError, () => chat.create(ask({ model: "nobody" })));
  return check(error.code === "model_not_found", error.message);
});

of("bad_value", async () => {
  const error = await refused(OpenAI.BadRequestError, () => chat.create(ask({ temperature: 9 })));
  return check(error.param === "temperature", error.message);
});

of("context", async () => {
  const long = [{ role: "user", content: "word ".repeat(4000) }];
  const error = await refused(OpenAI.BadRequestError, () => chat.create(ask({ messages: long })));
  return check(error.code === "context_length_exceeded", error.message);
});

of("retries", async () => {
  const answer = await whileBusy(() => as(site.frugal).chat.completions.create(ask({ max_tokens: 3 })));
  return check(answer.choices[0].message.content, "answered after a 429");
});

of("cancel", async () => {
  const stream = await chat.create(ask({ model: site.slow, max_tokens: 2000, stream: true }));
  for await (const _ of stream) break;
  stream.controller.abort();
  return untilIdle();
});

await run();
