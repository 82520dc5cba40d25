// Stands for OpenCode: calls the plugin's hooks as OpenCode does, and runs what is left of each call.
import { DefenseClaw } from "./defenseclaw.js";

const hooks = await DefenseClaw({ directory: "/w" });
const sessionID = "ses_1";
const ran = [];

async function call(callID, tool, args) {
  try {
    await hooks["tool.execute.before"]({ tool, sessionID, callID }, { args });
  } catch (error) {
    ran.push({ callID, blocked: error.message });
    return;
  }
  ran.push({ callID, args });
  await hooks["tool.execute.after"]({ tool, sessionID, callID, args }, { title: "", output: "made", metadata: {} });
}

await hooks.event({ event: { type: "session.created", properties: { info: { id: sessionID } } } });
await hooks["chat.message"]({ sessionID }, { message: {}, parts: [{ type: "text", text: "Go on." }] });
await call("one", "bash", { command: "touch allowed.txt" });
await call("two", "bash", { command: "touch denied.txt" });
await call("three", "bash", { command: "touch asked.txt" });
await call("four", "bash", { command: "touch original.txt", description: "x" });
await call("five", "write", { filePath: "denied.txt", content: "x" });
await call("six", "bash", { command: "#" + "x".repeat(17 * 1024 * 1024) });
await hooks.event({ event: { type: "session.idle", properties: { sessionID } } });
for (const entry of ran) if (entry.args?.command?.length > 1000) entry.args.command = "long";
console.log(JSON.stringify(ran));
