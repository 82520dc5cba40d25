# Decides on a declared tool call before it runs.
#
# `input` is a DecideInput of the crate defenseclaw-policy; the answer is `decision`. Rules add to `objections`: what they
# want (`ask` or `deny`), what they saw, and what to do instead. What no rule objects to is allowed; what a call did
# not say is for the kernel's view, judged in effect.rego.
#
# The rules stand in decision_*.rego, by subject.
package defenseclaw.decision

verdict_rank := {"ask": 1, "deny": 2}

severity_rank := {"NONE": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}

opening := {"ask": "Needs a person's approval", "deny": "Refused by policy"}

rank(objection) := (10 * verdict_rank[objection.verdict]) + severity_rank[objection.severity]

finding(objection) := object.remove(objection, ["verdict", "remedy"])

decision := {"verdict": "allow", "severity": "NONE", "reason": "No rule objects to what this call declares.", "findings": []} if {
	count(objections) == 0
}

decision := {"verdict": worst.verdict, "severity": severity, "reason": reason, "findings": findings} if {
	top := max([rank(objection) | some objection in objections])
	worst := [objection | some objection in objections; rank(objection) == top][0]
	reason := sprintf("%s: %s. %s.", [opening[worst.verdict], worst.message, worst.remedy])
	highest := max([severity_rank[objection.severity] | some objection in objections])
	some severity, level in severity_rank
	level == highest
	findings := [finding(objection) | some objection in objections]
}

# The declaration itself is not to be trusted.
objections contains {
	"rule": "trust.forged-hook",
	"category": "trust",
	"verdict": "deny",
	"severity": "HIGH",
	"message": "this call was declared from inside another tool call's own processes, not by the agent product",
	"remedy": "Hooks are called by the agent product alone; run the tool itself instead",
	"evidence": [input.binding.caller],
	"confidence": 95,
} if {
	input.binding.state == "forged"
}
