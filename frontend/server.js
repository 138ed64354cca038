// Asking the application: with the login, with a limit of time, and with failures that say what to do about them.

const PATIENCE_MS = 15_000;
const KEY = "login";

let login = kept();
const onChange = [];

/** What went wrong. kind: unreachable, broken (5xx), refused (4xx), expired (the login is not good any more). */
export class Failure extends Error {
  constructor(kind, status = 0) {
    super(`${kind} ${status}`);
    this.kind = kind;
    this.status = status;
  }
}

/** Who is logged in: {token, name, shown}, or null. */
export const whoIs = () => login;

/** Calls `react(login, why)` when somebody logs in or out. why: "left", "expired", or nothing. */
export const whenLogin = (react) => onChange.push(react);

/** Logs in. Throws a Failure; "refused" with status 401 is a wrong name or password. */
export async function enter(name, password) {
  const response = await send("/api/v1/auth/login", { body: { name, password } });
  if (!response.ok) throw failure(response.status, "refused");
  const given = await response.json();
  change({ token: given.access_token, name, shown: given.display_name });
}

/** Logs out. */
export function leave(why = "left") {
  if (login) change(null, why);
}

/** The JSON answer to a GET or, with a body, a POST. Throws a Failure. */
export async function ask(path, options = {}) {
  const response = await open(path, options);
  return response.json().catch(() => {
    throw new Failure("unreachable", response.status);
  });
}

/** The response, once its head is there: for answers that come piece by piece. Throws a Failure, or an AbortError. */
export async function open(path, options = {}) {
  const asker = login;
  const response = await send(path, options);
  if (response.status === 401) {
    if (asker === login) leave("expired");
    throw new Failure("expired", 401);
  }
  if (!response.ok) throw failure(response.status, "refused");
  return response;
}

/** How an address that says how the application is answers: {status, body, ms}; status 0 when nothing answers. */
export async function probe(path) {
  const begun = performance.now();
  try {
    const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    const ms = performance.now() - begun;
    return { status: response.status, body: await response.json().catch(() => null), ms };
  } catch {
    return { status: 0, body: null, ms: 0 };
  }
}

/** The server-sent events of a response, as {name, data}. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) yield event(block);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may be over already
  }
}

function event(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return { name, data: data.length ? JSON.parse(data.join("\n")) : null };
}

async function send(path, { body, signal } = {}) {
  const headers = login ? { Authorization: `Bearer ${login.token}` } : {};
  const options = { headers, signal: signal ?? AbortSignal.timeout(PATIENCE_MS), cache: "no-store" };
  if (body) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  try {
    return await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("unreachable");
  }
}

function failure(status, otherwise) {
  if ([502, 503, 504].includes(status)) return new Failure("unreachable", status);
  return new Failure(status >= 500 ? "broken" : otherwise, status);
}

function change(to, why) {
  login = to;
  try {
    if (to) sessionStorage.setItem(KEY, JSON.stringify(to));
    else sessionStorage.removeItem(KEY);
  } catch {
    // Then the login lasts until the page is left.
  }
  for (const react of onChange) react(login, why);
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}
