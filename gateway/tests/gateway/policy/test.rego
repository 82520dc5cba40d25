# A policy whose answers a test can choose by what the call says.
package defenseclaw

import rego.v1

default decision := {"verdict": "allow", "severity": "NONE", "reason": "nothing objects", "findings": []}

decision := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": "the hook was forged",
	"findings": [finding("test.forged", "HIGH")],
} if {
	input.binding.state == "forged"
} else := {
	"verdict": "deny",
	"severity": "HIGH",
	"reason": "told to deny",
	"findings": [finding("test.deny", "HIGH")],
} if {
	contains(input.call_kind.command, "deny-me")
} else := {
	"verdict": "ask",
	"severity": "MEDIUM",
	"reason": "told to ask",
	"findings": [finding("test.ask", "MEDIUM")],
} if {
	contains(input.call_kind.command, "ask-me")
} else := {"verdict": "no verdict"} if {
	contains(input.call_kind.command, "fail-me")
}

finding(rule, severity) := {
	"rule": rule,
	"category": "test",
	"severity": severity,
	"message": "a rule of the test policy",
	"evidence": [],
	"confidence": 100,
}

effect contains object.union(finding("test.secret-read", "HIGH"), {"message": sprintf("declared %v, by %v, after %d", [
	declared,
	object.get(input, "tool", "no tool"),
	count(input.call_effects.credential_reads),
])}) if {
	input.activity.action.action == "open"
	input.activity.action.class == "credential"
}

default declared := false

declared if is_object(input.declared)
