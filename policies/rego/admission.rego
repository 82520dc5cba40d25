# Whether an artifact may be used on this host: a skill, an MCP server, a plugin or a tool.
#
# The question is `data.admission.decision`, the answer {"action": "allow|warn|block", "reason": "…"}. `input` is
#
#   {"kind": "skill|mcp|plugin|tool", "name": "…", "version": "…",
#    "scanner_verdict": {"severity": "NONE|LOW|MEDIUM|HIGH|CRITICAL", "findings": […], "confidence": 90},
#    "trust": {"signed_by": "…", "origin": "…"}}
#
# A finding is a text, or an object with its rule id in `rule` and, where it has one, its own severity. `signed_by` is the id of
# a signer whose signature was verified, or null; what an artifact says of itself never gets here. `data.trust` says who is
# trusted how far: {"signers": {ID: {"auto_allow_up_to": SEVERITY}}, "origins": {ID: {"auto_allow_up_to": SEVERITY}}}.
#
# This file and the four admission_KIND.rego need nothing else: no other file, no data, no builtin that Rego does not have.
package admission

import rego.v1

# What is of no known kind, or not of the form above, is not weighed at all.
default decision := {"action": "block", "reason": "no match"}

decision := data.admission_skill.decision if input.kind == "skill"

decision := data.admission_mcp.decision if input.kind == "mcp"

decision := data.admission_plugin.decision if input.kind == "plugin"

decision := data.admission_tool.decision if input.kind == "tool"

# --- What each severity comes to: the files of the kinds answer with this, unless they say otherwise ----------------------------

# No trust lifts it.
weighed := {"action": "block", "reason": "critical finding"} if severity == "CRITICAL"

weighed := {"action": "allow", "reason": concat("", ["The scan found nothing in this ", thing, "."])} if severity == "NONE"

weighed := {
	"action": "allow",
	"reason": concat("", [voucher.who, ", whose ", thing, "s may have findings up to ", voucher.up_to, sprintf("; found: %v.", [named])]),
} if {
	severity in {"LOW", "MEDIUM", "HIGH"}
	voucher := vouchers[0]
}

weighed := {"action": "block", "reason": sprintf("HIGH: %v", [named])} if {
	severity == "HIGH"
	count(vouchers) == 0
}

weighed := {"action": "warn", "reason": sprintf("medium finding: %v", [named])} if {
	severity == "MEDIUM"
	count(vouchers) == 0
}

weighed := {"action": "warn", "reason": sprintf("low finding: %v", [named])} if {
	severity == "LOW"
	count(vouchers) == 0
}

# What a kind is called.
thing := {"skill": "skill", "mcp": "MCP server", "plugin": "plugin", "tool": "tool"}[input.kind]

# --- How bad it is -------------------------------------------------------------------------------------------------------------

ranks := {"NONE": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}

# The verdict's severity, or that of a worse finding: a verdict cannot talk its own findings down. There is none where the input
# is not of the expected form; then nothing below allows anything.
severity := worst if {
	well_formed
	some worst, rank in ranks
	rank == max({ranks[input.scanner_verdict.severity]} | {ranks[finding.severity] | some finding in findings})
}

findings := input.scanner_verdict.findings if is_array(input.scanner_verdict.findings)

well_formed if {
	input.kind in {"skill", "mcp", "plugin", "tool"}
	is_string(input.name)
	input.name != ""
	text_or_none(object.get(input, "version", null))
	ranks[input.scanner_verdict.severity]
	number_or_none(object.get(input.scanner_verdict, "confidence", null))
	findings
	every finding in findings { readable(finding) }
	not contradicted
	trust_readable(object.get(input, "trust", null))
}

# A text says no severity; that of the verdict holds for it.
readable(finding) if is_string(finding)

readable(finding) if {
	is_object(finding)
	not "severity" in object.keys(finding)
}

readable(finding) if ranks[finding.severity]

# Nothing was found, and here is what was found: one of the two is wrong, and nobody can tell which.
contradicted if {
	input.scanner_verdict.severity == "NONE"
	some finding in findings
	not ranks[finding.severity]
}

trust_readable(trust) if trust == null

trust_readable(trust) if {
	is_object(trust)
	text_or_none(object.get(trust, "signed_by", null))
	text_or_none(object.get(trust, "origin", null))
}

text_or_none(value) if is_string(value)

text_or_none(value) if value == null

number_or_none(value) if is_number(value)

number_or_none(value) if value == null

# --- Who vouches for it ----------------------------------------------------------------------------------------------------------

vouchers := array.concat(by_signer, by_origin)

by_signer := [{"who": concat(" ", ["Signed by", input.trust.signed_by]), "up_to": up_to} |
	up_to := data.trust.signers[input.trust.signed_by].auto_allow_up_to
	ranks[severity] <= ranks[up_to]
]

by_origin := [{"who": concat(" ", ["From", input.trust.origin]), "up_to": up_to} |
	up_to := data.trust.origins[input.trust.origin].auto_allow_up_to
	ranks[severity] <= ranks[up_to]
]

# --- What was found, for a person ------------------------------------------------------------------------------------------------

named := [label(finding) | some finding in findings]

label(finding) := finding if {
	is_string(finding)
} else := finding.rule if {
	is_string(finding.rule)
} else := finding.rule_id if {
	is_string(finding.rule_id)
} else := finding.id if {
	is_string(finding.id)
} else := "a finding without a rule id" if {
	is_object(finding)
}
