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

# --- What there is to look at: most calls have nothing of it, and no rule is tried on them -----------------------------

classed_reads := [read | some read in input.facts.reads; read.class]

classed_writes := [write | some write in input.facts.writes; write.class]

# The programs that rules look at word by word; for all others the name is enough.
suspects := array.concat(listed_suspects, unresolved_programs)

listed_suspects := [program | some program in input.facts.programs; data.lists.suspects[program.name]]

# What runs is the value of a variable or the output of a command; the facts say so as opaque.
unresolved_programs := [program |
	count(input.facts.opaque) > 0
	some program in input.facts.programs
	substring(program.name, 0, 1) in {"$", "`"}
]

objections contains objection if {
	count(classed_reads) > 0
	some objection in credentials_objections
}

objections contains objection if {
	count(suspects) + count(input.facts.opaque) > 0
	some objection in code_objections
}

objections contains objection if {
	count(suspects) + count(classed_writes) > 0
	some objection in damage_objections
}

objections contains objection if {
	count(suspects) + count(classed_writes) + count(input.facts.privilege) > 0
	some objection in guarded_objections
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
