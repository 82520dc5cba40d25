
// OpenClaw's plugin. What `before_tool_call` returns is the gateway's reply itself. It never throws: a handler that throws
// is skipped, and the call runs.

const CONNECTOR = "openclaw";
// The most that OpenClaw gives a handler is ten minutes; this one is done before that.
const LIMIT = 594_000;
const TIMEOUT = 600_000;
// Before every other plugin's: what they change or approve is then still to come, and a block is final.
const FIRST = 1_000_000;

const block = (blockReason) => ({ block: true, blockReason });

function fields(event, context) {
  const { sessionKey, sessionId, runId, workspaceDir } = context ?? {};
  return { sessionKey, sessionId, runId: event?.runId ?? runId, workspaceDir };
}

export default {
  id: "defenseclaw",
  name: "DefenseClaw",
  description: "Asks the DefenseClaw gateway before a tool runs",
  register(api) {
    const on = (name, handler) => api.on(name, handler, { priority: FIRST, timeoutMs: TIMEOUT });
    const report = (name, of) =>
      on(name, async (event, context) => {
        await tell(CONNECTOR, { event: name, ...fields(event, context), ...of(event ?? {}) }, LIMIT);
      });
    on("before_tool_call", async (event, context) => {
      const { toolName, params, toolCallId } = event ?? {};
      const payload = { event: "before_tool_call", ...fields(event, context), toolName, params, toolCallId };
      return (await decide(CONNECTOR, payload, LIMIT, block)) ?? undefined;
    });
    report("after_tool_call", ({ toolName, params, toolCallId, result, error }) => ({
      toolName,
      params,
      toolCallId,
      result: shortened(result),
      error: error ? shortened(error) : undefined,
    }));
    report("message_received", ({ content }) => ({ content: shortened(content) }));
    report("agent_end", () => ({}));
    report("session_start", () => ({}));
    report("session_end", ({ reason }) => ({ reason }));
  },
};
