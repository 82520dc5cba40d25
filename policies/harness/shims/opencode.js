
// OpenCode's plugin. A call is stopped by an exception in `tool.execute.before`, and changed by changing its arguments in
// place: OpenCode runs the object that it handed out.

const CONNECTOR = "opencode";
// OpenCode itself waits for ever; a person is given ten minutes.
const LIMIT = 594_000;

const SESSION_EVENTS = {
  "session.created": (properties) => properties.info?.id,
  "session.idle": (properties) => properties.sessionID,
  "session.deleted": (properties) => properties.info?.id,
};

export const DefenseClaw = async ({ directory }) => {
  const report = (event, fields) => tell(CONNECTOR, { event, directory, ...fields }, LIMIT);
  return {
    event: async ({ event }) => {
      const sessionID = SESSION_EVENTS[event.type]?.(event.properties ?? {});
      if (sessionID) await report(event.type, { sessionID });
    },
    "chat.message": async ({ sessionID }, { parts }) => {
      const text = (parts ?? []).filter((part) => part.type === "text").map((part) => part.text);
      await report("chat.message", { sessionID, text: shortened(text.join("\n")) });
    },
    "tool.execute.before": async ({ tool, sessionID, callID }, output) => {
      const payload = { event: "tool.execute.before", directory, tool, sessionID, callID, args: output.args };
      const reply = await decide(CONNECTOR, payload, LIMIT, (block) => ({ block }));
      if (reply?.block) throw new Error(reply.block);
      if (reply?.args) {
        for (const name of Object.keys(output.args)) delete output.args[name];
        Object.assign(output.args, reply.args);
      }
    },
    "tool.execute.after": async ({ tool, sessionID, callID, args }, output) => {
      const metadata = { error: output?.metadata?.error ? true : undefined };
      await report("tool.execute.after", { tool, sessionID, callID, args, metadata, output: shortened(output?.output) });
    },
  };
};
