// What report.py is for Python: where the server is, and one JSON line per feature. No packages.

const told = (name) => process.env[`COMPAT_${name}`];
export const site = {
  root: told("ROOT"),
  v1: `${told("ROOT")}/v1`,
  key: told("KEY"),
  frugal: told("FRUGAL"),
  model: told("MODEL"),
  slow: told("SLOW"),
};

export const WEATHER = {
  type: "object",
  properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};

const CELL_MS = 90_000;
const cells = [];

/** A feature; `cell` answers what was seen, or throws. With `needs`, the server may lack that route. */
export const of = (feature, cell, needs = "") => cells.push({ feature, cell, needs });

export function check(true_, saw) {
  const text = typeof saw === "string" ? saw : JSON.stringify(saw);
  if (!true_) throw new Error(`saw ${text}`);
  return text;
}

/** The error of that kind that the call throws. */
export async function caught(isKind, call) {
  let got;
  try {
    got = await call();
  } catch (error) {
    if (isKind(error)) return error;
    throw error;
  }
  throw new Error(`an error was due, and there was ${JSON.stringify(got)}`);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const headers = (key) => ({ authorization: `Bearer ${key}`, "content-type": "application/json" });
const get = (path) => fetch(site.root + path, { headers: headers(site.key) });

/** Nothing of the slow model runs: its requests would go on for minutes if nobody cancelled them. */
export async function untilIdle() {
  for (let k = 0; k < 200; k++) {
    const { queue } = await (await get(`/v1/models/${site.slow}`)).json();
    if (!queue.waiting && !queue.running) return "its slot is free";
    await pause(50);
  }
  throw new Error("the client has left and its request still runs");
}

async function refusals() {
  const text = await (await get("/metrics")).text();
  const found = [...text.matchAll(/^queuechat_refused\w*\{code="concurrency_limit"\} (\S+)$/gm)];
  return found.reduce((sum, line) => sum + Number(line[1]), 0);
}

/** The frugal key has its one request running until the server has refused another, which `asks` must make. */
export async function whileBusy(asks) {
  const before = await refusals();
  const held = new AbortController();
  const messages = [{ role: "user", content: "hi" }];
  const body = JSON.stringify({ model: site.slow, messages, max_tokens: 2000, stream: true });
  const address = `${site.v1}/chat/completions`;
  const response = await fetch(address, { method: "POST", headers: headers(site.frugal), body, signal: held.signal });
  await response.body.getReader().read();
  let over = false;
  const lettingGo = (async () => {
    while (!over && (await refusals()) === before) await pause(20);
    held.abort();
  })();
  try {
    return await asks();
  } finally {
    over = true;
    await lettingGo;
    await untilIdle();
    if ((await refusals()) === before) throw new Error("the server refused nothing, so nothing was tried again");
  }
}

async function tryCell(cell) {
  let bell;
  const late = new Promise((_, fail) => {
    bell = setTimeout(() => fail(new Error(`nothing for ${CELL_MS / 1000} s`)), CELL_MS);
  });
  try {
    return { ok: true, saw: String(await Promise.race([cell(), late])).slice(0, 600) };
  } catch (error) {
    return { ok: false, saw: `${error?.name}: ${error?.message}`.slice(0, 600) };
  } finally {
    clearTimeout(bell);
  }
}

/** Every cell, or those that the command line names, one after the other. */
export async function run() {
  const paths = (await (await get("/openapi.json")).json()).paths;
  const wanted = process.argv.slice(2);
  for (const { feature, cell, needs } of cells) {
    if (wanted.length && !wanted.includes(feature)) continue;
    const row = !needs || needs in paths ? await tryCell(cell) : { ok: null, saw: `no ${needs} here` };
    console.log(JSON.stringify({ feature, ...row }));
  }
  process.exit(0);
}
