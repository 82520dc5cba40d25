# A policy whose answers a test can choose by what the call says.
package defenseclaw.decision

default decision := {"verdict": "allow", "severity": "NONE", "reason": "nothing objects", "findings": []}

decision := objection("deny", "HIGH", "the hook was forged") if {
	input.binding.state == "forged"
} else := objection("deny", "HIGH", "told to deny") if {
	contains(input.call_kind.command, "deny-me")
} else := objection("ask", "MEDIUM", "told to ask") if {
	contains(input.call_kind.command, "ask-me")
} else := {"verdict": "no verdict"} if {
	contains(input.call_kind.command, "fail-me")
}

objection(verdict, severity, reason) := {
	"verdict": verdict,
	"severity": severity,
	"reason": reason,
	"findings": [{
		"rule": concat(".", ["test", verdict]),
		"category": "test",
		"severity": severity,
		"message": reason,
		"evidence": [],
		"confidence": 100,
	}],
}
