// Stands for OpenClaw: registers the plugin, calls its handlers, and does what they return.
import plugin from "./index.js";

const handlers = {};
plugin.register({
  on(name, handler, { timeoutMs }) {
    if (!(timeoutMs > 0)) throw new Error("a handler needs its time limit");
    handlers[name] = handler;
  },
});
const context = { sessionKey: "agent:main:main", sessionId: "s1", workspaceDir: "/w" };
const ran = [];

async function call(toolCallId, toolName, params) {
  const answer = await handlers.before_tool_call({ toolName, params, toolCallId, runId: "r1" }, context);
  if (answer?.block) ran.push({ toolCallId, blocked: answer.blockReason });
  else if (answer?.requireApproval) ran.push({ toolCallId, asked: answer.requireApproval });
  else ran.push({ toolCallId, params: { ...params, ...answer?.params } });
  await handlers.after_tool_call({ toolName, params, toolCallId, result: { text: "made" } }, context);
}

await handlers.session_start({}, context);
await handlers.message_received({ content: "Go on." }, context);
await call("one", "exec", { command: "touch allowed.txt" });
await call("two", "exec", { command: "touch denied.txt" });
await call("three", "exec", { command: "touch asked.txt" });
await call("four", "exec", { command: "touch original.txt" });
await call("five", "write", { path: "denied.txt", content: "x" });
await handlers.agent_end({}, context);
console.log(JSON.stringify(ran));
