# The operator's lists: what an entry fits, and that it ends.
package defenseclaw.lists_test

import data.defenseclaw.decision
import data.defenseclaw.decision_test

lists(name, entry) := object.union({"block": [], "allow": [], "exceptions": []}, {name: [object.union(
	{"owner": "o", "reason": "r", "subject": "s", "expires_ns": 2000},
	entry,
)]})

fetch(host) := {"facts": object.union(decision_test.no_facts, {
	"programs": [{"name": "curl", "argv": ["curl"]}, {"name": "sh", "argv": ["sh"]}],
	"hosts": [{"host": host}],
	"reads": [{"path": "/w/a"}],
})}

calls(findings, host) := object.union(decision_test.call(findings), fetch(host))

high := decision_test.found("HIGH", 95)

test_patterns if {
	decision.like("a", "a")
	decision.like("*.corp", "x.corp")
	decision.like("/srv/*", "/srv/x")
	not decision.like("a", "ab")
	not decision.like("*.corp", "xcorp")
	not decision.like("/srv/*", "/srvx")
}

test_a_blocked_program_host_or_path_is_refused if {
	every entry in [{"program": "curl"}, {"host": "h.example"}, {"path": "/w/*"}, {"tool": "Bash", "program": "sh"}] {
		answer := decision.decision with input as calls([], "h.example") with data.operator as lists("block", entry)
		answer.verdict == "deny"
		answer.rule == "list.block"
	}
}

test_a_block_of_something_else_is_no_objection if {
	every entry in [{"program": "wget"}, {"host": "g.example"}, {"path": "/x/*"}, {"tool": "Read", "program": "sh"}] {
		answer := decision.decision with input as calls([], "h.example") with data.operator as lists("block", entry)
		answer.verdict == "allow"
	}
}

test_an_expired_entry_does_not_count if {
	entry := {"program": "curl", "expires_ns": 1000}
	answer := decision.decision with input as calls([], "h.example") with data.operator as lists("block", entry)
	answer.verdict == "allow"
}

test_a_trusted_host_sets_aside_what_is_not_critical if {
	trusted := lists("allow", {"host": "*.corp.example"})
	answer := decision.decision with input as calls([high], "get.corp.example") with data.operator as trusted
	answer.verdict == "allow"
	other := decision.decision with input as calls([high], "h.example") with data.operator as trusted
	other.verdict == "deny"
	critical := decision.decision with input as calls([decision_test.found("CRITICAL", 95)], "get.corp.example") with data.operator as trusted
	critical.verdict == "deny"
}

# One trusted program does not vouch for the others of the call.
test_every_program_must_be_trusted if {
	answer := decision.decision with input as calls([high], "h.example") with data.operator as lists("allow", {"program": "curl"})
	answer.verdict == "deny"
}

test_an_exception_is_for_its_rule_and_is_told if {
	excepted := lists("exceptions", {"rule": "high", "host": "h.example"})
	answer := decision.decision with input as calls([high], "h.example") with data.operator as excepted
	answer.verdict == "allow"
	answer.waived == [{"finding": 0, "by": "o", "reason": "r"}]
	elsewhere := decision.decision with input as calls([high], "g.example") with data.operator as excepted
	elsewhere.verdict == "deny"
	another := decision.decision with input as calls([decision_test.found("CRITICAL", 9), high], "h.example") with data.operator as excepted
	another.verdict == "deny"
	another.waived == [{"finding": 1, "by": "o", "reason": "r"}]
}

# Whoever may run `curl | sh` from one host may not add another one to the same call.
test_an_exception_for_a_host_needs_all_hosts if {
	excepted := lists("exceptions", {"rule": "high", "host": "h.example"})
	two := object.union(calls([high], "h.example"), {"facts": object.union(fetch("h.example").facts, {"hosts": [{"host": "h.example"}, {"host": "evil.example"}]})})
	answer := decision.decision with input as two with data.operator as excepted
	answer.verdict == "deny"
}
