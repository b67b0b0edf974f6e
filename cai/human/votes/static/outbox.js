// Votes on their way. Each lies in the browser's storage until the server has said that it is stored; every
// id is made once, so sending a vote twice stores it once.

const TIMEOUT = 10_000; // ms
const PAUSES = [500, 1000, 2000, 3000, 5000]; // ms between tries; the last one repeats

/** One request. kind: ok | refused (sending it again would not help) | offline | closed | trouble. */
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  let data;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT) });
    data = response.ok || response.status === 422 || response.status === 500 ? await response.json() : {};
  } catch {
    return { kind: "offline" };
  }
  if (response.ok) return { kind: "ok", data };
  if (response.status === 403) return { kind: "closed" };
  if (response.status >= 500) return { kind: "trouble", message: data.error ?? "The server has failed." };
  return { kind: "refused", message: data.error ?? `The server answered ${response.status}.` };
}

/** Ask until there is an answer. `waiting` hears of each failure and gives a promise to wait for. */
export async function persist(path, body, waiting) {
  for (let tries = 0; ; tries += 1) {
    const answer = await ask(path, body);
    if (answer.kind === "ok" || answer.kind === "refused") return answer;
    await waiting(answer, PAUSES[Math.min(tries, PAUSES.length - 1)]);
  }
}

/** The unsent votes of one run in this browser, whoever's they are. */
export class Outbox {
  constructor(run, waiting) {
    this.prefix = `cai:${run}:unsent:`;
    this.waiting = waiting;
  }

  /** Keep, send, and forget once it is stored. The answer is ok or refused. */
  async send(path, body) {
    const key = this.prefix + body.uuid;
    localStorage.setItem(key, JSON.stringify({ path, body, at: Date.now() }));
    const answer = await persist(path, body, this.waiting);
    localStorage.removeItem(key);
    return answer;
  }

  /** Send what an earlier page could not, oldest first. Returns [how many were stored, those refused]. */
  async flush() {
    const kept = Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix))
      .map((key) => JSON.parse(localStorage.getItem(key)))
      .sort((one, other) => one.at - other.at);
    const refused = [];
    for (const { path, body } of kept) {
      const answer = await this.send(path, body);
      if (answer.kind === "refused") refused.push(answer.message);
    }
    return [kept.length - refused.length, refused];
  }
}
