# What the operator's lists make of an admission.
package defenseclaw.artifacts_test

import data.admission_test
import data.defenseclaw.artifacts
import rego.v1

digest := "sha256:aa"

artifact(severity) := object.union(admission_test.skill(severity, findings(severity)), {"digest": digest, "now_ns": 1000})

findings(severity) := [] if severity == "NONE"

findings(severity) := ["x"] if severity != "NONE"

empty := {"block": [], "allow": [], "first_party": []}

lists(name, entry) := object.union(empty, {name: [object.union(
	{"kind": "skill", "owner": "ada", "reason": "as agreed", "expires_ns": 2000},
	entry,
)]})

test_empty_lists_change_nothing if {
	every case in [["NONE", "allow"], ["LOW", "warn"], ["MEDIUM", "warn"], ["HIGH", "block"], ["CRITICAL", "block"]] {
		answer := artifacts.decision with input as artifact(case[0]) with data.operator.artifacts as empty
		answer.action == case[1]
		plain := data.admission.decision with input as artifact(case[0])
		answer == plain
	}
}

test_what_is_blocked_is_blocked if {
	every entry in [{"name": "pdf-forms"}, {"name": "PDF-*"}, {"name": "*-forms"}, {"digest": digest}, {"name": "pdf-forms", "digest": digest}] {
		answer := artifacts.decision with input as artifact("NONE") with data.operator.artifacts as lists("block", entry)
		answer == {"action": "block", "reason": "On the block list of ada: as agreed."}
	}
}

test_a_block_of_something_else_is_none if {
	every entry in [
		{"name": "pdf"}, {"digest": "sha256:bb"}, {"name": "pdf-forms", "digest": "sha256:bb"},
		{"name": "pdf-forms", "kind": "mcp"}, {"name": "pdf-forms", "expires_ns": 1000},
	] {
		answer := artifacts.decision with input as artifact("NONE") with data.operator.artifacts as lists("block", entry)
		answer.action == "allow"
	}
}

test_a_block_without_end_stays if {
	forever := {"block": [{"kind": "skill", "name": "pdf-forms", "owner": "ada", "reason": "r"}], "allow": [], "first_party": []}
	answer := artifacts.decision with input as artifact("NONE") with data.operator.artifacts as forever
	answer.action == "block"
}

test_block_beats_allow if {
	both := object.union(lists("block", {"name": "pdf-forms"}), {"allow": lists("allow", {"digest": digest}).allow})
	answer := artifacts.decision with input as artifact("NONE") with data.operator.artifacts as both
	answer.action == "block"
}

test_a_name_is_allowed_below_critical if {
	every case in [["LOW", "allow"], ["HIGH", "allow"], ["CRITICAL", "block"]] {
		answer := artifacts.decision with input as artifact(case[0]) with data.operator.artifacts as lists("allow", {"name": "pdf-*"})
		answer.action == case[1]
	}
}

test_content_is_allowed_whatever_was_found if {
	every severity in ["LOW", "HIGH", "CRITICAL"] {
		answer := artifacts.decision with input as artifact(severity) with data.operator.artifacts as lists("allow", {"digest": digest})
		answer == {"action": "allow", "reason": "Allowed by ada, exactly as it is: as agreed."}
	}
}

test_what_is_allowed_is_not_something_else if {
	every entry in [
		{"name": "pdf"}, {"name": "PDF-forms"}, {"digest": "sha256:bb"}, {"name": "pdf-forms", "digest": "sha256:bb"},
		{"name": "pdf-forms", "kind": "mcp"}, {"name": "pdf-forms", "expires_ns": 1000}, {"digest": digest, "expires_ns": 999},
	] {
		answer := artifacts.decision with input as artifact("HIGH") with data.operator.artifacts as lists("allow", entry)
		answer.action == "block"
	}
}

test_without_a_digest_no_entry_for_content_fits if {
	unknown := object.remove(artifact("HIGH"), ["digest"])
	answer := artifacts.decision with input as unknown with data.operator.artifacts as lists("allow", {"digest": digest})
	answer.action == "block"
}

test_without_a_clock_blocks_stay_and_nothing_is_loosened if {
	timeless := object.remove(artifact("HIGH"), ["now_ns"])
	allowed := artifacts.decision with input as timeless with data.operator.artifacts as lists("allow", {"name": "pdf-forms"})
	allowed.action == "block"
	fine := object.remove(artifact("NONE"), ["now_ns"])
	blocked := artifacts.decision with input as fine with data.operator.artifacts as lists("block", {"name": "pdf-forms"})
	blocked.action == "block"
}

signed(severity) := object.union(artifact(severity), {"trust": {"signed_by": "us", "origin": null}})

test_first_party_by_signature if {
	ours := lists("first_party", {"name": "pdf-*", "signer": "us"})
	every case in [["HIGH", "allow"], ["CRITICAL", "block"]] {
		answer := artifacts.decision with input as signed(case[0]) with data.operator.artifacts as ours
		answer.action == case[1]
	}
	unsigned := artifacts.decision with input as artifact("HIGH") with data.operator.artifacts as ours
	unsigned.action == "block"
}

test_first_party_by_content if {
	ours := {"block": [], "allow": [], "first_party": [{"kind": "skill", "name": "pdf-forms", "digest": digest, "owner": "ada", "reason": "r"}]}
	answer := artifacts.decision with input as artifact("MEDIUM") with data.operator.artifacts as ours
	answer == {"action": "allow", "reason": "Made here, says ada: r."}
	changed := object.union(artifact("HIGH"), {"digest": "sha256:bb"})
	other := artifacts.decision with input as changed with data.operator.artifacts as ours
	other.action == "block"
}

test_no_list_makes_a_malformed_input_admissible if {
	broken := object.union(artifact("HIGH"), {"version": 7})
	every name in ["allow", "first_party"] {
		answer := artifacts.decision with input as broken with data.operator.artifacts as lists(name, {"digest": digest})
		answer == {"action": "block", "reason": "no match"}
	}
	named := artifacts.decision with input as broken with data.operator.artifacts as lists("allow", {"name": "pdf-forms"})
	named.action == "block"
	numbered := object.union(artifact("HIGH"), {"name": 7})
	blocked := artifacts.decision with input as numbered with data.operator.artifacts as lists("block", {"name": "pdf-forms"})
	blocked == {"action": "block", "reason": "no match"}
}
