# What an artifact's verdict comes to, for every kind; and what is not of the expected form.
package admission_test

import data.admission
import rego.v1

kinds := {"skill", "mcp", "plugin", "tool"}

artifact(kind, severity, findings) := {
	"kind": kind,
	"name": "pdf-forms",
	"version": "1.4.0",
	"scanner_verdict": {"severity": severity, "findings": findings, "confidence": 0.9},
	"trust": {"signed_by": null, "origin": null},
}

skill(severity, findings) := artifact("skill", severity, findings)

changed(change) := object.union(skill("NONE", []), change)

verdict(change) := object.union(skill("NONE", []).scanner_verdict, change)

judged(change) := changed({"scanner_verdict": verdict(change)})

from(trust, severity) := object.union(skill(severity, ["x"]), {"trust": trust})

no_match := {"action": "block", "reason": "no match"}

trusting(list, up_to) := object.union({"signers": {}, "origins": {}}, {list: {"acme": {"auto_allow_up_to": up_to}}})

nobody := {"signers": {}, "origins": {}}

# --- The ladder, for every kind ---------------------------------------------------------------------------------------------------

test_nothing_found_is_allowed if {
	every kind in kinds {
		answer := admission.decision with input as artifact(kind, "NONE", []) with data.trust as nobody
		answer.action == "allow"
		contains(answer.reason, "found nothing")
	}
}

test_the_reason_names_the_kind if {
	every kind, word in {"skill": "skill.", "mcp": "MCP server.", "plugin": "plugin.", "tool": "tool."} {
		answer := admission.decision with input as artifact(kind, "NONE", []) with data.trust as nobody
		endswith(answer.reason, word)
	}
}

test_low_warns if {
	every kind in kinds {
		answer := admission.decision with input as artifact(kind, "LOW", ["a", "b"]) with data.trust as nobody
		answer == {"action": "warn", "reason": sprintf("low finding: %v", [["a", "b"]])}
	}
}

test_medium_warns if {
	every kind in kinds {
		answer := admission.decision with input as artifact(kind, "MEDIUM", ["a", "b"]) with data.trust as nobody
		answer == {"action": "warn", "reason": sprintf("medium finding: %v", [["a", "b"]])}
	}
}

test_high_blocks if {
	every kind in kinds {
		answer := admission.decision with input as artifact(kind, "HIGH", ["a", "b"]) with data.trust as nobody
		answer == {"action": "block", "reason": sprintf("HIGH: %v", [["a", "b"]])}
	}
}

test_critical_blocks if {
	every kind in kinds {
		answer := admission.decision with input as artifact(kind, "CRITICAL", ["a"]) with data.trust as nobody
		answer == {"action": "block", "reason": "critical finding"}
	}
}

test_a_severity_without_findings_counts_all_the_same if {
	answer := admission.decision with input as skill("MEDIUM", []) with data.trust as nobody
	answer == {"action": "warn", "reason": "medium finding: []"}
	high := admission.decision with input as skill("HIGH", []) with data.trust as nobody
	high.action == "block"
}

# --- How findings are named ---------------------------------------------------------------------------------------------------------

test_findings_are_named_by_text_or_rule if {
	found := ["a text", {"rule": "skill.rule"}, {"rule_id": "by-rule-id"}, {"id": "by-id"}, {"line": 3}]
	answer := admission.decision with input as skill("MEDIUM", found) with data.trust as nobody
	names := ["a text", "skill.rule", "by-rule-id", "by-id", "a finding without a rule id"]
	answer.reason == sprintf("medium finding: %v", [names])
}

# --- A verdict cannot talk its own findings down --------------------------------------------------------------------------------------

test_a_worse_finding_raises_the_verdict if {
	every case in [
		["NONE", "LOW", "warn", "low finding: "], ["LOW", "MEDIUM", "warn", "medium finding: "],
		["MEDIUM", "HIGH", "block", "HIGH: "], ["LOW", "CRITICAL", "block", "critical finding"],
		["NONE", "CRITICAL", "block", "critical finding"],
	] {
		found := [{"rule": "mild", "severity": "NONE"}, {"rule": "bad", "severity": case[1]}]
		answer := admission.decision with input as skill(case[0], found) with data.trust as nobody
		answer.action == case[2]
		startswith(answer.reason, case[3])
	}
}

test_a_milder_finding_does_not_lower_it if {
	answer := admission.decision with input as skill("HIGH", [{"rule": "mild", "severity": "LOW"}]) with data.trust as nobody
	answer == {"action": "block", "reason": sprintf("HIGH: %v", [["mild"]])}
	nothing := admission.decision with input as skill("NONE", [{"rule": "note", "severity": "NONE"}]) with data.trust as nobody
	nothing.action == "allow"
}

# --- Trust ---------------------------------------------------------------------------------------------------------------------------

test_a_trusted_signer_lifts_up_to_its_severity if {
	every case in [
		["LOW", "LOW", "allow"], ["LOW", "MEDIUM", "warn"], ["LOW", "HIGH", "block"],
		["MEDIUM", "LOW", "allow"], ["MEDIUM", "MEDIUM", "allow"], ["MEDIUM", "HIGH", "block"],
		["HIGH", "HIGH", "allow"], ["NONE", "HIGH", "block"], ["NONE", "LOW", "warn"],
		["HIGH", "CRITICAL", "block"], ["CRITICAL", "CRITICAL", "block"], ["CRITICAL", "HIGH", "allow"],
	] {
		signed := from({"signed_by": "acme", "origin": null}, case[1])
		by_signer := admission.decision with input as signed with data.trust as trusting("signers", case[0])
		by_signer.action == case[2]
		came := from({"signed_by": null, "origin": "acme"}, case[1])
		by_origin := admission.decision with input as came with data.trust as trusting("origins", case[0])
		by_origin.action == case[2]
	}
}

test_trust_says_who_and_what if {
	signed := from({"signed_by": "acme", "origin": null}, "MEDIUM")
	answer := admission.decision with input as signed with data.trust as trusting("signers", "HIGH")
	answer.reason == sprintf("Signed by acme, whose skills may have findings up to HIGH; found: %v.", [["x"]])
	came := from({"signed_by": null, "origin": "acme"}, "MEDIUM")
	by_origin := admission.decision with input as came with data.trust as trusting("origins", "HIGH")
	startswith(by_origin.reason, "From acme, whose skills may have findings up to HIGH;")
}

test_signer_and_origin_do_not_stand_for_each_other if {
	signed := from({"signed_by": "acme", "origin": null}, "MEDIUM")
	answer := admission.decision with input as signed with data.trust as trusting("origins", "HIGH")
	answer.action == "warn"
	other := from({"signed_by": "someone", "origin": "elsewhere"}, "HIGH")
	unknown := admission.decision with input as other with data.trust as trusting("signers", "HIGH")
	unknown.action == "block"
}

test_both_may_vouch if {
	both := from({"signed_by": "acme", "origin": "acme"}, "MEDIUM")
	trust := {"signers": {"acme": {"auto_allow_up_to": "MEDIUM"}}, "origins": {"acme": {"auto_allow_up_to": "HIGH"}}}
	answer := admission.decision with input as both with data.trust as trust
	answer.action == "allow"
}

test_a_limit_that_is_no_severity_lifts_nothing if {
	every limit in ["high", "ALL", "", null, 3, ["HIGH"]] {
		signed := from({"signed_by": "acme", "origin": null}, "LOW")
		answer := admission.decision with input as signed with data.trust as trusting("signers", limit)
		answer.action == "warn"
	}
}

test_a_raised_verdict_is_what_trust_is_measured_by if {
	signed := object.union(
		skill("LOW", [{"rule": "bad", "severity": "HIGH"}]),
		{"trust": {"signed_by": "acme", "origin": null}},
	)
	answer := admission.decision with input as signed with data.trust as trusting("signers", "MEDIUM")
	answer.action == "block"
}

# --- What is not of the form ------------------------------------------------------------------------------------------------------------

test_what_is_left_out_without_harm if {
	bare := {"kind": "tool", "name": "t", "scanner_verdict": {"severity": "NONE", "findings": []}}
	answer := admission.decision with input as bare with data.trust as nobody
	answer.action == "allow"
	nulls := changed({"version": null, "trust": null, "scanner_verdict": verdict({"confidence": null})})
	same := admission.decision with input as nulls with data.trust as nobody
	same.action == "allow"
}

test_what_is_malformed_is_no_match if {
	every broken in [
		{}, [], "skill", null,
		changed({"kind": "Skill"}), changed({"kind": "agent"}), changed({"kind": ""}), changed({"kind": null}), changed({"kind": ["skill"]}),
		changed({"name": ""}), changed({"name": null}), changed({"name": 1}),
		changed({"version": 1}), changed({"version": ["1"]}),
		changed({"scanner_verdict": null}), changed({"scanner_verdict": "NONE"}), changed({"scanner_verdict": ["NONE"]}),
		judged({"severity": "none"}), judged({"severity": "None"}), judged({"severity": "OK"}), judged({"severity": ""}),
		judged({"severity": null}), judged({"severity": 0}), judged({"severity": ["NONE"]}), judged({"severity": " NONE"}),
		judged({"findings": null}), judged({"findings": {}}), judged({"findings": "none"}), judged({"findings": 0}),
		judged({"findings": ["a text"]}), judged({"findings": [{"rule": "no-severity"}]}), judged({"findings": [null]}),
		judged({"findings": [1]}), judged({"findings": [["x"]]}), judged({"findings": [true]}),
		judged({"findings": [{"rule": "x", "severity": "low"}]}), judged({"findings": [{"rule": "x", "severity": null}]}),
		judged({"confidence": "0.9"}), judged({"confidence": [1]}),
		changed({"trust": "acme"}), changed({"trust": ["acme"]}), changed({"trust": true}),
		from({"signed_by": ["acme"], "origin": null}, "LOW"), from({"signed_by": null, "origin": {"id": "acme"}}, "LOW"),
		from({"signed_by": true}, "LOW"),
		object.remove(skill("NONE", []), ["kind"]), object.remove(skill("NONE", []), ["name"]),
		object.remove(skill("NONE", []), ["scanner_verdict"]),
	] {
		answer := admission.decision with input as broken with data.trust as trusting("signers", "HIGH")
		answer == no_match
	}
}

test_a_verdict_without_severity_or_findings_is_no_match if {
	every kept in [{"severity": "NONE"}, {"findings": []}, {}] {
		broken := {"kind": "skill", "name": "x", "version": "1", "scanner_verdict": kept, "trust": {}}
		answer := admission.decision with input as broken with data.trust as nobody
		answer == no_match
	}
}

test_no_trust_data_at_all if {
	signed := from({"signed_by": "acme", "origin": "acme"}, "HIGH")
	answer := admission.decision with input as signed with data.trust as {}
	answer.action == "block"
}

# What the lists lean on: an unknown kind has no severity either.
test_what_is_malformed_has_no_severity if {
	known := admission.severity with input as skill("HIGH", ["x"])
	known == "HIGH"
	not severity_of(changed({"kind": "agent"}))
	not severity_of(judged({"severity": "none"}))
}

severity_of(artifact) := severity if severity := admission.severity with input as artifact
