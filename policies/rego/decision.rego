# Decides on a declared tool call before it runs.
#
# `input` is a DecideInput of the crate defenseclaw-policy. Its `findings` are what the rule packs found in the call, the
# worst first; this policy weighs them. `decision` is the first of the clauses below whose conditions hold. It says
#
#   verdict   allow, ask or deny
#   severity  the greatest of what counted
#   reason    one or two sentences for the person and the model
#   rule      the finding's rule that decided, or this policy's own word
#   clause    which clause it was: the decision's line is the one where this word stands
#   findings  what the policy itself found, beside the packs'
#   waived    which of the packs' findings an exception set aside: their place in `input.findings`, and who answers for it
#
# and may say `updated_input`: what the call is to run with instead, where the harness can do that; and `sandbox`: the profile
# of the room that a command runs in, or "off" for none. Without it, that is the connector's own (`input.sandbox`, absent where
# its commands run in none).
#
# What counts how much is data (`data.decision`); who is listed or excepted is the operator's (`data.operator`, lists.rego).
package defenseclaw.decision

severity_rank := {"NONE": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}

# --- Most calls: nothing was found in them, and nothing else speaks against them ---------------------------------------------

# Says at once what the clauses below would say one by one.
decision := {
	"verdict": "allow",
	"severity": "NONE",
	"reason": "No rule objects to what this call declares.",
	"rule": "",
	"clause": "clear",
	"findings": [],
	"waived": [],
} if {
	input.findings == []
	not installs_to_weigh
	input.binding.state != "forged"
	not input.artifacts
	data.operator.block == []
	input.posture.taints == []
	not input.mcp.pin == "changed"
	not {"name": "defenseclaw-canary-denied", "argv": ["defenseclaw-canary-denied"]} in input.facts.programs
}

# --- What stands, whatever was found ---------------------------------------------------------------------------------------

# The declaration itself is not to be trusted.
else := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": refused(forged),
	"rule": "trust.forged-hook",
	"clause": "forged",
	"findings": [forged],
	"waived": [],
} if {
	input.binding.state == "forged"
}

# `doctor` makes this call to see a refusal arrive. It does nothing, anywhere.
else := {
	"verdict": "deny",
	"severity": "LOW",
	"reason": refused(canary),
	"rule": "doctor.canary",
	"clause": "canary",
	"findings": [canary],
	"waived": [],
} if {
	{"name": "defenseclaw-canary-denied", "argv": ["defenseclaw-canary-denied"]} in input.facts.programs
}

else := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": refused(blocked[0]),
	"rule": "list.block",
	"clause": "blocked",
	"findings": blocked,
	"waived": [],
} if {
	count(blocked) > 0
}

# The install gate refused what this call would use, and nothing holds the open itself: no agent is there.
else := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": refused(refused_artifact),
	"rule": "gate.refused-artifact",
	"clause": "refused-artifact",
	"findings": [refused_artifact],
	"waived": [],
} if {
	input.artifacts
}

# An MCP server says something else of itself, or is started otherwise, than when it was approved. Nobody is asked call by call: what is asked is whether this server is
# still the one that was meant, and that has an answer of its own.
else := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": refused(changed_server),
	"rule": "mcp.pin-changed",
	"clause": "held",
	"findings": [changed_server],
	"waived": [],
} if {
	input.mcp.pin == "changed"
}

# --- What the packs found --------------------------------------------------------------------------------------------------

else := {
	"verdict": "allow",
	"severity": "NONE",
	"reason": "No rule objects to what this call declares.",
	"rule": "",
	"clause": "nothing-found",
	"findings": [],
	"waived": [],
} if {
	count(input.findings) == 0
	count(told_installs) == 0
	not sends_after_secret
}

# In hitl mode a person may let pass what is not critical.
else := {
	"verdict": "ask",
	"severity": refusable.severity,
	"reason": asked(refusable),
	"rule": refusable.rule,
	"clause": "hitl",
	"findings": told_installs,
	"waived": waived,
} if {
	input.mode == "hitl"
	refusable.severity != "CRITICAL"
}

else := {
	"verdict": "deny",
	"severity": refusable.severity,
	"reason": refused(refusable),
	"rule": refusable.rule,
	"clause": "refused",
	"findings": told_installs,
	"waived": waived,
} if {
	refusable
}

# A narrower room in place of a person's answer, where the data names one for that severity. Not for a session with something
# to its name: then what is asked about is not this call alone.
else := {
	"verdict": "allow",
	"severity": doubtful.severity,
	"reason": sprintf("Runs in the sandbox %s instead of being asked about: %s.", [narrower, doubtful.message]),
	"rule": doubtful.rule,
	"clause": "sandboxed",
	"findings": told_installs,
	"waived": waived,
	"sandbox": narrower,
} if {
	input.sandbox
	narrower := data.decision.sandbox.instead_of_asking[doubtful.severity]
	count(input.posture.taints) == 0
	input.posture.risk < data.decision.risk.ask_from
}

else := {
	"verdict": "ask",
	"severity": doubtful.severity,
	"reason": asked(doubtful),
	"rule": doubtful.rule,
	"clause": "asked",
	"findings": told_installs,
	"waived": waived,
} if {
	doubtful
}

# --- What the session did before ------------------------------------------------------------------------------------------

else := {
	"verdict": "ask",
	"severity": "MEDIUM",
	"reason": asked(sent),
	"rule": sent.rule,
	"clause": "sends-after-secret",
	"findings": array.concat([sent], told_installs),
	"waived": waived,
} if {
	sends_after_secret
}

else := {
	"verdict": "ask",
	"severity": "MEDIUM",
	"reason": asked(risen),
	"rule": risen.rule,
	"clause": "risk",
	"findings": array.concat([risen], told_installs),
	"waived": waived,
} if {
	count(notable) > 0
	input.posture.risk >= data.decision.risk.ask_from
}

else := {
	"verdict": "ask",
	"severity": "MEDIUM",
	"reason": asked(led),
	"rule": led.rule,
	"clause": "after-untrusted-text",
	"findings": array.concat([led], told_installs),
	"waived": waived,
} if {
	count(notable) > 0
	"untrusted-text" in input.posture.taints
}

# --- Worth recording, no more ---------------------------------------------------------------------------------------------

else := {
	"verdict": "allow",
	"severity": severity,
	"reason": "What the rules found is recorded, and is below what a person is asked about.",
	"rule": "",
	"clause": "recorded",
	"findings": told_installs,
	"waived": waived,
} if {
	severity := greatest(counted)
}

# --- Weighing ---------------------------------------------------------------------------------------------------------------

# What no exception and no allow list sets aside: the packs' findings, then those about what is installed.
counted := array.concat(
	[finding |
		some place, finding in input.findings
		not place in set_aside
		not allowed(finding)
		not answered(finding)
	],
	[finding | some finding in installed; not allowed(finding)],
)

# The thresholds of a severity: from which confidence (0 to 100) on a finding denies or asks.
reaches(finding, verdict) if finding.confidence >= data.decision.thresholds[finding.severity][verdict]

refusable := [finding | some finding in counted; reaches(finding, "deny")][0]

asking := [finding | some finding in counted; reaches(finding, "ask")]

# A rule says what is wrong, the model that learned from labelled calls only that something is.
doubtful := finding if {
	finding := [one | some one in asking; one.rule != "learned.call"][0]
} else := asking[0]

# What makes a risen risk matter: a finding that says something about this call.
notable := [finding |
	some finding in counted
	finding.confidence >= data.decision.risk.notable_confidence
	severity_rank[finding.severity] >= severity_rank[data.decision.risk.notable_severity]
]

greatest(findings) := "NONE" if count(findings) == 0

greatest(findings) := severity if {
	count(findings) > 0
	worst := max([severity_rank[finding.severity] | some finding in findings])
	some severity
	severity_rank[severity] == worst
}

# The session read a secret, and this call sends something away: they may be the same bytes.
sends_after_secret if {
	"secret-read" in input.posture.taints
	sends
}

sends if {
	some behaviour in input.facts.behaviours
	behaviour.kind == "exfiltration"
}

sends if {
	some flow in input.facts.flows
	flow.to.kind == "network"
}

# --- What the policy itself finds -------------------------------------------------------------------------------------------

forged := {
	"rule": "trust.forged-hook",
	"category": "trust-exploit",
	"severity": "HIGH",
	"message": "this call was declared from inside another tool call's own processes, not by the agent product",
	"remedy": "Hooks are called by the agent product alone; run the tool itself instead",
	"evidence": [input.binding.caller],
	"confidence": 95,
}

changed_server := {
	"rule": "mcp.pin-changed",
	"category": "tool-poisoning",
	"severity": "HIGH",
	"message": sprintf("the MCP server %s is held, because it is another than the one that was pinned", [input.mcp.server]),
	"remedy": sprintf("Ask the person to look at it with `defenseclaw-cli mcp pins diff %s`, and to approve it there if the change is meant", [input.mcp.id]),
	"evidence": [input.mcp.server, input.mcp.tool],
	"confidence": 95,
}

canary := {
	"rule": "doctor.canary",
	"category": "command",
	"severity": "LOW",
	"message": "this is DefenseClaw's own test call, which is always refused",
	"remedy": "Nothing is to be done: the refusal shows that the hook works",
	"evidence": [],
	"confidence": 100,
}

refused_artifact := {
	"rule": "gate.refused-artifact",
	"category": "supply-chain",
	"severity": "HIGH",
	"message": sprintf("this call would use the %s %s in %s, which was refused: %s", [artifact.kind, artifact.name, artifact.path, trim_suffix(artifact.reason, ".")]),
	"remedy": "A person can look at it with `defenseclaw-cli gate list`; start the agent to have it scanned anew where it was changed",
	"evidence": [artifact.path],
	"confidence": 95,
} if {
	artifact := input.artifacts[0]
}

sent := {
	"rule": "risk.send-after-secret",
	"category": "secret",
	"severity": "MEDIUM",
	"message": "this session read a secret before, and this call sends data to the network",
	"remedy": "Say what is sent and where to",
	"evidence": [host.host | some host in input.facts.hosts],
	"confidence": 70,
}

risen := {
	"rule": "risk.session",
	"category": "command",
	"severity": "MEDIUM",
	"message": sprintf("this session did much that rules object to, and %s", [notable[0].message]),
	"remedy": "Let the person look at what the session has done so far",
	"evidence": [sprintf("risk %v", [round(input.posture.risk)]), sprintf("%d calls refused", [input.posture.denied])],
	"confidence": 70,
}

led := {
	"rule": "risk.after-untrusted-text",
	"category": "injection",
	"severity": "MEDIUM",
	"message": sprintf("this session took in text that tries to steer the agent, and %s", [notable[0].message]),
	"remedy": "Let the person look at what the agent read before it made this call",
	"evidence": [],
	"confidence": 70,
}

# --- Reasons ------------------------------------------------------------------------------------------------------------------

refused(finding) := sprintf("Refused by policy: %s.%s", [finding.message, advice(finding)])

asked(finding) := sprintf("Needs a person's approval: %s.%s%s", [finding.message, advice(finding), scan_note])

advice(finding) := "" if object.get(finding, "remedy", "") == ""

advice(finding) := sprintf(" %s.", [finding.remedy]) if object.get(finding, "remedy", "") != ""
