// How a plugin asks the gateway: the hook client's rules, for harnesses that start no hook command.
//
// This file stands before each plugin's own; together they are one module (see gateway/harness/src/shims.rs). It knows no
// rule and decides nothing. Whatever goes wrong is answered by the fail mode.

import * as fs from "node:fs";
import { request } from "node:http";

const HOOK_CONF = "/etc/defenseclaw/hook.conf";
const MAX_CONF_BYTES = 64 * 1024;
const MAX_PAYLOAD = 16 * 1024 * 1024;
// A reply is a verdict and a sentence, or a changed input as large as a payload.
const MAX_REPLY = 20 * 1024 * 1024;
// Of what a tool gave back, only so much is told: its first and its last half.
const MAX_TOLD = 256 * 1024;

const DEFAULTS = { socket: "/run/defenseclaw/gateway.sock", fail: "closed", deadline: 3000 };

// Root's file alone counts where there is one, and only if nobody else can have written it. Without it the environment
// counts, which whoever starts the harness can set.
function settings() {
  let text;
  try {
    const fd = fs.openSync(HOOK_CONF, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
    try {
      const stat = fs.fstatSync(fd);
      if (!stat.isFile() || stat.uid !== 0 || (stat.mode & 0o022) !== 0 || stat.size > MAX_CONF_BYTES) return DEFAULTS;
      text = fs.readFileSync(fd, "utf8");
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    return error.code === "ENOENT" ? fromEnvironment() : DEFAULTS;
  }
  const found = { ...DEFAULTS };
  for (const line of text.split("\n").map((line) => line.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    const [key, value] = [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1).trim()];
    if (key === "socket" && value.startsWith("/")) found.socket = value;
    else if (key === "fail" && (value === "open" || value === "closed")) found.fail = value;
    else if (key === "deadline_ms" && /^\d{3,5}$/.test(value)) found.deadline = Math.min(Number(value), 30000);
    // A line that is not understood is no reason to let calls through.
    else return { ...DEFAULTS, fault: `${HOOK_CONF}: ${JSON.stringify(line)} is not understood. Mend that line` };
  }
  return found;
}

function fromEnvironment() {
  const { DEFENSECLAW_SOCKET: socket, DEFENSECLAW_FAIL_MODE: fail } = process.env;
  const found = { ...DEFAULTS };
  if (socket) found.socket = socket;
  if (fail === "open" || fail === "closed") found.fail = fail;
  else if (fail) found.fault = "DEFENSECLAW_FAIL_MODE is neither `open` nor `closed`. Set it right or unset it";
  return found;
}

// Asks about one event; gives the reply's JSON, or null where there is nothing to say. `limit`: how long the harness waits.
function exchange(connector, payload, { socket, deadline, fault }, limit) {
  return new Promise((resolve, reject) => {
    if (fault) return reject(new Error(fault));
    const body = Buffer.from(JSON.stringify(payload));
    if (body.length > MAX_PAYLOAD) {
      return reject(new Error("the payload is over the limit of 16 MiB. Split the work into smaller calls"));
    }
    let timer;
    const ended = (settle, value) => {
      clearTimeout(timer);
      settle(value);
      asked.destroy();
    };
    const failed = (what) => ended(reject, new Error(`the gateway at ${socket} ${what}`));
    const wait = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => failed(`did not answer within ${ms} ms. See its log for what holds it up`), ms);
    };
    const asked = request({
      socketPath: socket,
      // A connection of its own: one that was kept from before may be closed at the other end.
      agent: false,
      method: "POST",
      path: `/v1/hooks/${connector}`,
      headers: { "content-type": "application/json", "content-length": body.length, connection: "close" },
    });
    wait(Math.min(deadline, limit));
    asked.on("error", (error) => failed(`cannot be reached: ${error.code ?? error.message}`));
    asked.on("response", (response) => {
      // A person is being asked: that takes as long as the gateway says, and no longer than the harness waits.
      const late = Number(response.headers["x-defenseclaw-late"] ?? 0);
      if (late > 0) wait(Math.min(late, limit));
      const chunks = [];
      let size = 0;
      response.on("data", (chunk) => {
        size += chunk.length;
        if (size > MAX_REPLY) failed("answered with more than 20 MiB");
        else chunks.push(chunk);
      });
      response.on("error", () => failed("broke off its answer"));
      response.on("end", () => {
        try {
          if (!response.complete) return failed("broke off its answer");
          ended(resolve, read(response, Buffer.concat(chunks), late > 0));
        } catch (error) {
          failed(`answered with what is not understood: ${error.message}`);
        }
      });
    });
    asked.end(body);
  });
}

function read(response, bytes, late) {
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${bytes.toString("utf8", 0, 300)}`);
  if (!late && response.headers["x-defenseclaw-exit"] !== "0") throw new Error("no exit status 0");
  const text = bytes.toString("utf8");
  const said = late ? text.slice(text.indexOf("\n") + 1) : text;
  if (late && !text.startsWith("0 0\n")) throw new Error("no exit status 0");
  if (said.trim() === "") return null;
  const reply = JSON.parse(said);
  if (reply === null || typeof reply !== "object" || Array.isArray(reply)) throw new Error("no JSON object");
  return reply;
}

function complain(message) {
  process.stderr.write(`defenseclaw: ${message}\n`);
}

// Asks whether a call may run. `refusal` makes the harness's own refusal of a reason.
async function decide(connector, payload, limit, refusal) {
  const how = settings();
  try {
    return await exchange(connector, payload, how, limit);
  } catch (error) {
    if (how.fail === "open") {
      complain(`${error.message}. The call runs unchecked, as configured.`);
      return null;
    }
    return refusal(`DefenseClaw: could not check this call, so it is refused: ${error.message}.`);
  }
}

// Reports an event. Whatever fails, the harness goes on.
async function tell(connector, payload, limit) {
  try {
    await exchange(connector, payload, settings(), limit);
  } catch (error) {
    complain(`${error.message}. This event was not recorded.`);
  }
}

// The first and the last half of a long text.
function shortened(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value ?? "");
  if (text.length <= MAX_TOLD) return text;
  return `${text.slice(0, MAX_TOLD / 2)}\n${text.slice(-MAX_TOLD / 2)}`;
}
